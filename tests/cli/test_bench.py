import json
import subprocess
import sys


def test_the_benchmark_measures_every_variant_against_plain_and_the_matrix_product() -> None:
    command = [sys.executable, "-m", "lrnet_cli", "bench", "--image-size", "8", "--batch-size", "4", "--rounds", "1"]
    document = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout)
    assert document["schema"] == "lrnet.bench/1"
    variants = [(row["work"], row["form"]) for row in document["rows"]]
    assert sorted(variants) == [("predict", "fused"), ("predict", "plain"), ("train", "fused"), ("train", "plain")]
    for row in document["rows"]:
        assert row["images_per_second"] > 0
        assert row["share_of_matrix_product"] > 0
        if row["form"] == "plain":
            assert row["times_plain_fp32"] == 1
    assert document["input_share_of_fastest_step"].keys() == {"default augmentation", "all of it"}
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "of matrix product" in table

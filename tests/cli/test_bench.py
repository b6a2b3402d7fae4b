import json
from collections.abc import Callable
from typing import Any


def test_the_benchmark_measures_every_variant_against_plain_and_the_matrix_product(
    lrnet: Callable[..., Any],
) -> None:
    command = ("bench", "--image-size", "8", "--batch-size", "4", "--rounds", "1", "--device", "cpu")
    document = json.loads(lrnet(*command, "--json").stdout)
    assert document["schema"] == "lrnet.bench/1"
    variants = [(row["work"], row["form"]) for row in document["rows"]]
    assert sorted(variants) == [("predict", "fused"), ("predict", "plain"), ("train", "fused"), ("train", "plain")]
    for row in document["rows"]:
        assert row["images_per_second"] > 0
        assert row["share_of_matrix_product"] > 0
        if row["form"] == "plain":
            assert row["times_plain_fp32"] == 1
    assert document["input_share_of_fastest_step"].keys() == {"default augmentation", "all of it"}
    table = lrnet(*command).stdout
    assert "of matrix product" in table

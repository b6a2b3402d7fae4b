"""How much memory is free, also inside a container."""

from pathlib import Path

import psutil
import pytest

from lrnet_cli.memory import free_memory


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/pod/one", "pod", ("memory.max", "memory.current", "inactive_file")),
        ("0::/", "", ("memory.max", "memory.current", "inactive_file")),
        ("4:cpu,memory:/docker/1", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, line: str, folder: str, names: tuple[str, str, str]) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"1:name=systemd:/\n{line}\n")
    group = tmp_path / "sys/fs/cgroup" / folder
    group.mkdir(parents=True)
    limit, use, cached = names
    (group / limit).write_text("3000000\n")
    (group / use).write_text("2500000\n")
    (group / "memory.stat").write_text(f"anon 5\n{cached} 500000\n")
    assert free_memory(tmp_path) == 1_000_000
    (group / limit).write_text("max\n")
    assert free_memory(tmp_path) > 1_000_000


def test_without_a_container_the_machine_counts(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)

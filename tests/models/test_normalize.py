import pytest
import torch
from torch import Tensor, nn

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.models.normalize import Normalized, normalize, suited_to

HOWS = pytest.mark.parametrize("how", ["stretch", "ground"])


@pytest.fixture(scope="module")
def scans() -> Tensor:
    """Give scans on black that use the grey scale up to its middle, so that a ground can be added without clipping."""
    scans = load_dataset("optdigits", ImageOptions(20)).test.images[:50].float() / 510
    return nn.functional.pad(scans, (4, 4, 4, 4))


@HOWS
def test_level_and_contrast_of_an_image_make_no_difference(scans: Tensor, how: str) -> None:
    usual = normalize(scans, how)
    for level, contrast in ((0.4, 1.0), (0.1, 0.5), (0.7, 0.3), (0.0, 2.0)):
        assert (normalize(level + contrast * scans, how) - usual).abs().max() < 1e-4


def test_a_sloping_ground_makes_no_difference(scans: Tensor) -> None:
    line = torch.linspace(0, 0.2, 28)
    slope = line[:, None] + line
    assert (normalize(slope + scans, "ground") - normalize(scans, "ground")).abs().max() < 0.05
    assert (normalize(slope + scans, "stretch") - normalize(scans, "stretch")).abs().max() > 0.2


@HOWS
def test_an_image_on_black_keeps_its_ground_and_its_order(scans: Tensor, how: str) -> None:
    result = normalize(2 * scans, how)
    assert result.min() >= -0.05
    assert (result[scans == 0].abs() < 0.05).all()
    assert result.flatten(1).max(1).values.min() > 0.95


@HOWS
def test_dark_on_light_is_the_same_with_the_other_sign(scans: Tensor, how: str) -> None:
    assert (normalize(1 - scans, how) + normalize(scans, how)).abs().max() < 1e-4


@HOWS
@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_a_blank_image_is_blank(how: str, grey: float) -> None:
    assert normalize(torch.full((2, 1, 28, 28), grey), how).abs().max() < 1e-5


@HOWS
def test_faint_noise_is_not_stretched_to_ink(how: str) -> None:
    torch.manual_seed(0)
    assert normalize(0.5 + 0.01 * torch.randn(4, 1, 28, 28), how).abs().max() < 0.5


@HOWS
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 9), (3, 32)])
def test_images_of_any_size_and_colour(how: str, channels: int, side: int) -> None:
    images = torch.rand(3, channels, side, side)
    result = normalize(images, how)
    assert result.shape == images.shape
    assert result.abs().max() <= 1


def test_none_is_nothing(scans: Tensor) -> None:
    assert normalize(scans, "none") is scans
    network = Normalized(nn.Flatten(), "ground")
    assert torch.equal(network(scans), normalize(scans, "ground").flatten(1))
    assert list(network.state_dict()) == []


@HOWS
def test_a_compiler_takes_it_in_one_piece(scans: Tensor, how: str) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compiled = torch.compile(lambda images: normalize(images, how), backend=backend, fullgraph=True)
    assert torch.equal(compiled(scans), normalize(scans, how))
    assert len(graphs) == 1


def grounds(levels: torch.Tensor, slope: float = 0.0) -> torch.Tensor:
    """Return uint8 images (N, 1, 28, 28) of a stroke on grounds of these levels, 0 to 1, lighter to the right."""
    images = levels[:, None, None, None] + slope * torch.linspace(-0.5, 0.5, 28).expand(len(levels), 1, 28, 28)
    images[:, :, 8:20, 13:15] = 1.0
    return (images * 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("levels", "slope", "expected"),
    [
        (torch.full((60,), 0.1), 0.0, "none"),
        (torch.linspace(0.0, 0.6, 60), 0.0, "ground"),
        (torch.full((60,), 0.3), 0.3, "ground"),
        (torch.tensor([0.1, 0.6]).repeat(30), 0.0, "none"),  # the ground tells the class
    ],
)
def test_grounds_that_vary_are_removed_unless_they_tell_the_class(
    levels: torch.Tensor, slope: float, expected: str
) -> None:
    assert suited_to(grounds(levels, slope), torch.tensor([0, 1]).repeat(30)) == expected

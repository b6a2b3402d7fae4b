import pickle

from lrnet_cli.errors import SettingError
from lrnet_cli.settings.setting import flag_of


def test_an_error_names_settings_as_its_reader_writes_them() -> None:
    error = SettingError("{top_k} and {no_fuse} do not go with {path!r}.", path="{x}/{top_k}")
    assert str(error) == "top_k and fuse=False do not go with '{x}/{top_k}'."
    assert error.naming(flag_of) == "--top-k and --no-fuse do not go with '{x}/{top_k}'."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)

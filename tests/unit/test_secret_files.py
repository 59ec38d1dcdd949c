"""The filter secret_files."""

from ansible_collections.linda.ops.plugins.filter.secret_files import FilterModule

secret_files = FilterModule().filters()["secret_files"]


def test_one_file_for_each_secret() -> None:
    assert secret_files({"TOKEN": "x", "DATABASE_URI": "y"}.keys(), "shop/secrets", "secret.j2") == [
        {"path": "shop/secrets/DATABASE_URI", "template": "secret.j2", "vars": {"secret_name": "DATABASE_URI"}},
        {"path": "shop/secrets/TOKEN", "template": "secret.j2", "vars": {"secret_name": "TOKEN"}},
    ]


def test_no_secrets_no_files() -> None:
    assert secret_files([], "shop/secrets", "secret.j2") == []

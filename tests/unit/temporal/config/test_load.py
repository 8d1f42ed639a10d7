"""Temporal's own settings: mistakes are reported before connecting."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.service import HttpConnectProxyConfig, TLSConfig

from reconciler.core.errors import ConfigurationError
from reconciler.temporal.config.load import load_config
from tests.support.network.certificates import Authority, Certificate

ADDRESS = {"TEMPORAL_ADDRESS": "t:7233", "HOME": "/nonexistent"}
SECRET = "s3cret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("client.test")


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "temporal.toml"


def refusal(variables: dict[str, str], proxy: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_config(ADDRESS | variables, proxy)
    text = str(refused.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


def test_there_is_no_default_address() -> None:
    for nothing in ({}, {"TEMPORAL_ADDRESS": ""}):
        with pytest.raises(ConfigurationError, match="TEMPORAL_ADDRESS is not set"):
            load_config({"HOME": "/nonexistent", **nothing})


@pytest.mark.parametrize(
    "address", ["temporal", "https://t:7233", "t:", ":7233", "u:p@t:7233", "t:7233/", "a b:1"]
)
def test_an_address_is_host_and_port(address: str) -> None:
    error = refusal({"TEMPORAL_ADDRESS": address})

    assert error.startswith(
        f"TEMPORAL_ADDRESS: must be host:port, and nothing else (it is {address!r}"
    )


def test_an_address_may_be_a_number() -> None:
    assert load_config({"TEMPORAL_ADDRESS": "[::1]:7233"})["target_host"] == "[::1]:7233"


def test_temporals_own_variables_are_used() -> None:
    config = load_config(
        ADDRESS
        | {"TEMPORAL_NAMESPACE": "n", "TEMPORAL_TLS_SERVER_NAME": "name", "TEMPORAL_API_KEY": "key"}
    )

    assert config == {
        "target_host": "t:7233",
        "namespace": "n",
        "api_key": "key",
        "tls": TLSConfig(domain="name"),
    }


def test_the_environment_overrides_a_profile(toml: Path, authority: Authority) -> None:
    toml.write_text(
        f'[profile.prod]\naddress = "p:7233"\nnamespace = "file"\n'
        f'[profile.prod.tls]\nserver_ca_cert_path = "{authority.root}"\n'
    )
    config = load_config(
        {
            "TEMPORAL_CONFIG_FILE": str(toml),
            "TEMPORAL_PROFILE": "prod",
            "TEMPORAL_NAMESPACE": "environment",
        }
    )

    assert config == {
        "target_host": "p:7233",
        "namespace": "environment",
        "tls": TLSConfig(server_root_ca_cert=authority.root.read_bytes()),
    }


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (f'[profile.default]\napi_kye = "{SECRET}"', "unknown field `api_kye`"),
        (f'[profile.default.tls]\nsever_name = "{SECRET}"', "unknown field `sever_name`"),
        (f'[profil.default]\napi_key = "{SECRET}"', "unknown field `profil`"),
        (f'[profile.default]\napi_key = ["{SECRET}"]', "invalid type: sequence"),
        (f'[profile.default]\ngrpc_meta = "Bearer {SECRET}"', 'invalid type: string "…"'),
        (f'[profile.default]\ntls = "a \\" {SECRET}"', 'invalid type: string "…"'),
        (f'[profile.default]\napi_key = "{SECRET}', "TOML parse error at line 2"),
        (f"[profile.default]\napi_key = {SECRET}", "TOML parse error at line 2"),
    ],
)
def test_a_mistake_in_the_file_is_reported_without_its_content(
    toml: Path, content: str, error: str
) -> None:
    toml.write_text(content)

    text = refusal({"TEMPORAL_CONFIG_FILE": str(toml)})

    assert text.startswith(f"Temporal's settings (TEMPORAL_*, {toml}): ")
    assert error in text


def test_a_missing_profile_is_named(toml: Path) -> None:
    toml.write_text('[profile.default]\naddress = "t:7233"')
    there = {"TEMPORAL_CONFIG_FILE": str(toml)}

    error = "Profile 'prod' not found"
    for given, file in ((there, toml), ({}, "temporal.toml")):
        text = f"Temporal's settings (TEMPORAL_*, {file}): {error}"
        assert refusal({"TEMPORAL_PROFILE": "prod"} | given) == text


def test_a_missing_configuration_file_is_refused(tmp_path: Path) -> None:
    error = refusal({"TEMPORAL_CONFIG_FILE": str(tmp_path / "none")})

    assert error == f"TEMPORAL_CONFIG_FILE: there is no file {tmp_path}/none"


def test_variables_of_other_programs_are_ignored() -> None:
    others = {"TEMPORAL_TASK_QUEUE": "orders", "TEMPORAL_SERVICE_HOST": ""}

    assert load_config(ADDRESS | others) == {"target_host": "t:7233"}


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"TEMPORAL_TLS": "off"}, "TEMPORAL_TLS must be true or false"),
        ({"TEMPORAL_TLS": ""}, "TEMPORAL_TLS must be true or false"),
        ({"TEMPORAL_API_KEY_FILE": ""}, "TEMPORAL_API_KEY_FILE is empty: set it, or remove it"),
        ({"TEMPORAL_API_KEY": " "}, "TEMPORAL_API_KEY is empty: set it, or remove it"),
        ({"TEMPORAL_NAMESPACE": ""}, "TEMPORAL_NAMESPACE is empty: set it, or remove it"),
        (
            {"TEMPORAL_API_KEY": f"Bearer {SECRET}"},
            "TEMPORAL_API_KEY: must hold the key and nothing else, in one line",
        ),
    ],
)
def test_a_value_that_temporal_would_misread_is_refused(
    variables: dict[str, str], error: str
) -> None:
    assert refusal(variables).startswith(error)


class TestCertificates:
    """And keys, whose content never appears in errors."""

    def test_are_read(self, authority: Authority, certificate: Certificate) -> None:
        config = load_config(
            ADDRESS
            | {
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(authority.root),
                "TEMPORAL_TLS_CLIENT_CERT_DATA": certificate.cert.read_text(),
                "TEMPORAL_TLS_CLIENT_KEY_PATH": str(certificate.key),
            }
        )

        assert config["tls"] == TLSConfig(
            server_root_ca_cert=authority.root.read_bytes(),
            client_cert=certificate.cert.read_bytes(),
            client_private_key=certificate.key.read_bytes(),
        )

    @pytest.mark.parametrize("part", ["SERVER_CA_CERT", "CLIENT_CERT", "CLIENT_KEY"])
    def test_a_missing_file_is_named(
        self, tmp_path: Path, certificate: Certificate, part: str
    ) -> None:
        given = {
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(certificate.cert),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(certificate.key),
            f"TEMPORAL_TLS_{part}_PATH": str(tmp_path / "none"),
        }

        assert refusal(given) == (
            f"TEMPORAL_TLS_{part}_PATH: {tmp_path}/none: No such file or directory"
        )

    def test_a_profiles_missing_file_is_named_by_its_key(self, toml: Path, tmp_path: Path) -> None:
        toml.write_text(
            f'[profile.default]\naddress = "t:1"\n[profile.default.tls]\n'
            f'client_cert_path = "{tmp_path}/none"\nclient_key_data = "{SECRET}"\n'
        )

        error = refusal({"TEMPORAL_CONFIG_FILE": str(toml)})

        assert (
            error == f"client_cert_path (temporal.toml): {tmp_path}/none: No such file or directory"
        )


class TestApiKeyFile:
    def test_it_is_read_and_enables_tls(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text("secret-key\n")

        config = load_config(ADDRESS | {"TEMPORAL_API_KEY_FILE": str(file)})

        assert (config["api_key"], config["tls"]) == ("secret-key", True)
        assert config["key_file"].current() == "secret-key"

    def test_it_overrides_the_key_of_a_profile(self, tmp_path: Path, toml: Path) -> None:
        (tmp_path / "key").write_text("from-file")
        toml.write_text('[profile.default]\naddress = "t:1"\napi_key = "from-profile"\n')

        config = load_config(
            {"TEMPORAL_CONFIG_FILE": str(toml), "TEMPORAL_API_KEY_FILE": str(tmp_path / "key")}
        )

        assert config["api_key"] == "from-file"

    def test_it_is_refused_beside_a_key(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(SECRET)
        given = {"TEMPORAL_API_KEY_FILE": str(tmp_path / "key"), "TEMPORAL_API_KEY": SECRET}

        assert refusal(given) == (
            "TEMPORAL_API_KEY and TEMPORAL_API_KEY_FILE are both set: remove one of them"
        )

    @pytest.mark.parametrize("path", ["~nobody-at-all/key", "x" * 300, "a\0b"])
    def test_an_invalid_path_is_refused(self, path: str) -> None:
        assert refusal({"TEMPORAL_API_KEY_FILE": path}).startswith("TEMPORAL_API_KEY_FILE: ")
        assert refusal({"TEMPORAL_CONFIG_FILE": path}).startswith("TEMPORAL_CONFIG_FILE: ")

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            (None, "No such file or directory"),
            (b" \n", "is empty"),
            (b"two\ns3cret lines", "must hold the key and nothing else, in one line"),
            (b"\xff", "is not UTF-8"),
        ],
    )
    def test_a_file_without_a_valid_key_is_refused(
        self, tmp_path: Path, content: bytes | None, error: str
    ) -> None:
        file = tmp_path / "key"
        if content is not None:
            file.write_bytes(content)

        text = refusal({"TEMPORAL_API_KEY_FILE": str(file)})

        assert text.startswith("TEMPORAL_API_KEY_FILE: ")
        assert f"{file}" in text
        assert text.endswith(error)


def test_a_proxy_has_a_host_a_port_and_a_login() -> None:
    def of(url: str) -> object:
        return load_config(ADDRESS, url)["http_connect_proxy_config"]

    assert of("http://proxy:3128") == HttpConnectProxyConfig("proxy:3128")
    assert of("http://u:p%40ss@[::1]:3128") == HttpConnectProxyConfig("[::1]:3128", ("u", "p@ss"))


@pytest.mark.parametrize("typo", ["TEMPORAL_NAMESPCE", "TEMPORAL_NAME_SPACE", "TEMPORL_NAMESPACE"])
def test_a_misspelt_namespace_is_refused_because_the_default_would_be_used(typo: str) -> None:
    assert refusal({typo: "prod"}) == (
        f"{typo}: there is no such variable, did you mean TEMPORAL_NAMESPACE?"
    )
    load_config({**ADDRESS, typo: "another program's", "TEMPORAL_NAMESPACE": "prod"})

"""The protos as strangers use them: from the wheel, with a compiler of another language, beside our own stubs."""

import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from snsnode.rpc import health_pb2, master_pb2, router_pb2, server_pb2, social_pb2

ROOT = Path(__file__).parents[2]
PUBLIC = ("router", "server", "social", "master")
WITHIN_S = 120

BUILD = "import setuptools.build_meta as b; print(b.build_wheel('.'))"
BOTH = """
import sys; sys.path.insert(0, {folder!r})
from sns.v1 import router_pb2, social_pb2
from snsnode.rpc import router_pb2 as ours
assert router_pb2.DESCRIPTOR.name == ours.DESCRIPTOR.name == "sns/v1/router.proto"
print(router_pb2.ClientConnect.FromString(ours.ClientConnect(username="anna").SerializeToString()).username)
"""


def python(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of protos in the wheel."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("snsnode", "proto"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "supervisord.conf.tmpl"):
        shutil.copy(ROOT / name, tree)
    wheel = tree / python("-c", BUILD, cwd=tree).split()[-1]
    zipfile.ZipFile(wheel).extractall(tree / "wheel")
    return tree / "wheel" / "snsnode" / "proto"


def compiled(protos: Path, language: str, out: Path) -> None:
    names = [f"sns/v1/{name}.proto" for name in PUBLIC]
    python("-m", "grpc_tools.protoc", f"-I{protos}", f"--{language}_out={out}", *names, cwd=protos)


def test_protos_of_the_wheel_need_nothing_that_is_not_there(protos: Path, tmp_path: Path) -> None:
    compiled(protos, "descriptor_set", tmp_path / "all")
    found = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "all").read_bytes())
    assert sorted(file.name for file in found.file) == sorted(f"sns/v1/{name}.proto" for name in PUBLIC)


@pytest.mark.skipif(shutil.which("protoc") is None, reason="needs protoc: apt-get install protobuf-compiler")
def test_protos_of_the_wheel_compile_for_cpp(protos: Path, tmp_path: Path) -> None:
    names = [f"sns/v1/{name}.proto" for name in PUBLIC]
    subprocess.run(["protoc", f"-I{protos}", f"--cpp_out={tmp_path}", *names], check=True, timeout=WITHIN_S)
    assert '#include "sns/v1/server.pb.h"' in (tmp_path / "sns/v1/router.pb.h").read_text()


def test_wheel_has_every_proto_of_the_checkout(protos: Path) -> None:
    ours = {str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")}
    assert {str(path.relative_to(protos)) for path in protos.rglob("*.proto")} == ours


def test_a_strangers_own_python_stubs_live_beside_ours(protos: Path, tmp_path: Path) -> None:
    compiled(protos, "python", tmp_path)
    assert python("-c", BOTH.format(folder=str(tmp_path)), cwd=tmp_path).split() == ["anna"]


def test_messages_survive_pickle() -> None:
    """Generated under another path, they would name a module that cannot be imported."""
    for message in (server_pb2.ServerInfo(vm="vm1"), social_pb2.Caller(username="anna")):
        assert pickle.loads(pickle.dumps(message)) == message


def test_names_on_the_wire_are_those_of_the_first_version() -> None:
    services = [
        f"/{service.full_name}/{method.name}"
        for module in (router_pb2, master_pb2, social_pb2, health_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    for name in (
        *(f"/sns.v1.Router/{method}" for method in ("RegisterServer", "Connect", "Crash")),
        "/sns.v1.Master/KeepAlive",
        *(f"/sns.v1.SNSService/{method}" for method in ("Login", "List", "Follow", "UnFollow", "Timeline")),
        *(f"/grpc.health.v1.Health/{method}" for method in ("Check", "Watch")),
    ):
        assert name in services

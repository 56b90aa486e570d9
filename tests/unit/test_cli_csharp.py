"""Where `lambent run` finds the handler in C# source, and what it makes of it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

import bootstraps
from engine.cli import csharp, package
from engine.cli.console import CommandError

HELLO = "public class Hello { public string Greet(string name) { return name; } }"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (HELLO, ["Hello.Greet"]),
        ("namespace A.B { namespace C { class D { public void E() { } } } }", ["A.B.C.D.E"]),
        ("namespace A.B;\npublic record D { public void E() { } }", ["A.B.D.E"]),
        ("class A { public class B { public static int C(int x) => x + F(x); } }", ["A+B.C"]),
        ("class A { public async Task<List<int>> B(Dictionary<string, int> x, ILambdaContext c) { } }", ["A.B"]),
        ("class A { [LambdaSerializer(typeof(X))] public Stream B(Stream s) { using (s) { return C(s); } } }", ["A.B"]),
        ("class A { public byte[] B([In] byte[] x) { } }", ["A.B"]),
        ("class A { public override string ToText(int x = 3) => D(x); }", ["A.ToText"]),
        ("class P { static async Task<int> Main(string[] a) { } }", ["P.Main"]),
        ("struct A { public int B(int x) { } }", ["A.B"]),
    ],
)
def test_public_methods_are_found_by_the_names_that_dotnet_gives_them(source, found):
    assert [f"{one.type}.{one.name}" for one in csharp.methods(source)] == found


@pytest.mark.parametrize(
    "source",
    [
        "// class A { public int B(int x) { } }\n/* class A { public int B(int x) { } } */",
        'class A { string s = "public int B(int x) { }"; string t = @"c:\\"; char c = \'{\'; }',
        'class A { const string S = """\npublic int B(int x) { }\n"""; }',
        "class A { int B(int x) { } private int C(int x) { } protected internal int D(int x) { } }",
        "class A { public A(int x) { } public A() : base(1) { } }",
        "class A { public int B { get; set; } = C(1); public int D = E(2); public int F => G(3); }",
        "class A { public static int operator +(A a, A b) { } public delegate int D(int x); }",
        "class A { public int B(int x, int y) { } public int C(int x, ILambdaContext c, int z) { } }",
        "class A { public T B<T>(T x) where T : class { } }",
        "abstract class A { public int B(int x) { } }",
        "class A<T> { public int B(int x) { } }",
        "interface I { int B(int x); }\nenum E { A, B }",
        "class A { void B() { public int C(int x) { } } }",
        "#if X\n#endif\n}}}{{ class",
        "",
    ],
)
def test_what_lambda_cannot_call_is_no_handler(source):
    assert list(csharp.methods(source)) == []


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_assembly_is_named_after_the_file_or_the_folder_of_several(tmp_path: Path):
    one = _tree(tmp_path / "one", {"Hello.cs": HELLO, "obj/Other.cs": HELLO})
    assert csharp.handler(one)[0] == csharp.handler(one / "Hello.cs")[0] == "Hello::Hello::Greet"
    several = _tree(tmp_path / "Shop", {"Cart.cs": HELLO, "Price.cs": "class Price { }"})
    assert csharp.handler(several)[0] == "Shop::Hello::Greet"
    program = _tree(tmp_path / "tool", {"Tool.cs": "class T { static void Main() { } }"})
    assert csharp.handler(program) == ("Tool", "it has a Main")
    assert csharp.handler(program, "Tool.exe") == ("Tool.exe", "as given")
    with pytest.raises(
        CommandError, match=r"is compiled to Hello\.dll: its handler is Hello::CLASS::METHOD, and not A::B"
    ):
        csharp.handler(one, "A::B::C")


def test_of_several_methods_the_conventional_one_is_taken_else_one_has_to_be_named(tmp_path: Path):
    text = "class A { public int B(int x) { } public int FunctionHandler(int x) { } public int Handle(int x) { } }"
    root = _tree(
        tmp_path, {"A.cs": text, "B.cs": "class B { public int C() { } public int D() { } }", "C.cs": "class C { }"}
    )
    assert csharp.handler(root / "A.cs")[0] == "A::A::FunctionHandler"
    with pytest.raises(CommandError, match="to use: B::B::C, B::B::D would all do"):
        csharp.handler(root / "B.cs")
    with pytest.raises(CommandError, match="no class there has a public method"):
        csharp.handler(root / "C.cs")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["Hello.cs"], "csharp"),
        (["Hello.cs", "Amazon.Lambda.Core.dll", "data.json"], "csharp"),
        (["Hello.cs", "app.py"], "folder"),
        (["Hello.cs", "bootstrap"], "folder"),
        (["src/Hello.cs", "Hello.dll"], "folder"),
    ],
)
def test_a_folder_is_csharp_when_nothing_else_in_it_could_be_run(tmp_path: Path, files, kind):
    assert package.find(str(_tree(tmp_path, dict.fromkeys(files, "")))).kind == kind


def test_a_project_is_left_to_its_own_tools(tmp_path: Path):
    with pytest.raises(CommandError, match="is a project, which its own tools build: 'dotnet publish"):
        package.find(str(_tree(tmp_path, {"Hello.cs": HELLO, "Hello.csproj": ""})))


def test_the_package_has_the_assembly_and_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def compiler(sources, out, *options):
        asked.append(([file.name for file in sources], out.name, [option.rpartition("/")[2] for option in options]))
        out.write_bytes(b"assembly")

    monkeypatch.setattr(bootstraps, "build_dotnet", lambda folder: folder / "target/bootstrap.exe")
    monkeypatch.setattr(bootstraps, "compile_dotnet", compiler)
    root = _tree(
        tmp_path,
        {"Hello.cs": HELLO, "Hello.dll": "old", "Lib.dll": "", "a/b.json": "{}", "bin/x": "", "sub/More.cs": ""},
    )
    for path, names in (
        (root, ["Hello.dll", "Lib.dll", "a/b.json"]),
        (root / "Hello.cs", ["Hello.dll", "Lib.dll"]),
    ):
        with zipfile.ZipFile(io.BytesIO(package.find(str(path)).package())) as made:
            assert sorted(made.namelist()) == names
            assert made.read("Hello.dll") == b"assembly"
    both = ["Lib.dll", "bootstrap.exe"]
    assert asked == [(["Hello.cs", "More.cs"], "Hello.dll", both), (["Hello.cs"], "Hello.dll", both)]


def test_what_the_compiler_says_is_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def compiler(*_):
        raise bootstraps.BuildError("mcs failed: CS1525")

    monkeypatch.setattr(bootstraps, "build_dotnet", lambda folder: folder)
    monkeypatch.setattr(bootstraps, "compile_dotnet", compiler)
    with pytest.raises(CommandError, match=r"Hello\.cs cannot be compiled: mcs failed: CS1525"):
        package.find(str(_tree(tmp_path, {"Hello.cs": HELLO}) / "Hello.cs")).package()

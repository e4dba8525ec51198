using HybridArchitectures.Analyzers;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Diagnostics;

namespace HybridArchitectures.Kernels.Tests.Analyzers;

public class ProcessEndingCallTests
{
    static readonly MetadataReference[] References =
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator).Where(path => path.Length > 0)
        .Select(path => MetadataReference.CreateFromFile(path)),
    ];

    static async Task<string[]> Warnings(string members)
    {
        var tree = CSharpSyntaxTree.ParseText($$"""
            using System; using System.Collections.Generic; using TorchSharp; using static TorchSharp.torch;
            class User { {{members}} }
            """);
        var compilation = CSharpCompilation.Create("User", [tree], References, new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary));
        Assert.Empty(compilation.GetDiagnostics().Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error));
        var found = await compilation.WithAnalyzers([new ProcessEndingCallAnalyzer()]).GetAnalyzerDiagnosticsAsync();
        return [.. found.Select(diagnostic => diagnostic.Id)];
    }

    [Theory]
    [InlineData("Tensor F(Tensor x, Tensor y) => x.matmul(y);")]
    [InlineData("Tensor F(Tensor x, Tensor y) => matmul(x, y);")]
    [InlineData("Func<Tensor, Tensor> F(Tensor x) => x.matmul;")]
    [InlineData("object F(Tensor x, int dimension) => x.cummax(dimension);")]
    [InlineData("object F(Tensor x, int dimension) => cummin(x, dimension);")]
    [InlineData("object F(Tensor x, Tensor y) => autograd.grad([x], [y]);")]
    [InlineData("void F(Tensor x) => set_rng_state(x);")]
    [InlineData("void F(Tensor x, Generator generator) => generator.set_state(x);")]
    [InlineData("void F(int threads) => set_num_threads(threads);")]
    [InlineData("void F(int threads) => set_num_interop_threads(threads);")]
    public async Task A_call_that_ends_the_process_is_warned_of(string member) => Assert.Equal(["HYB001"], await Warnings(member));

    [Theory]
    [InlineData("Tensor F(int type) => zeros(3, dtype: (ScalarType)type);")]
    [InlineData("Tensor F() => zeros(3, dtype: (ScalarType)99);")]
    [InlineData("Device F(long type) => new Device((DeviceType)type);")]
    public async Task A_number_as_a_type_is_warned_of(string member) => Assert.Equal(["HYB002"], await Warnings(member));

    [Fact]
    public async Task A_function_class_of_TorchSharp_is_warned_of() => Assert.Equal(["HYB003"], await Warnings("""
        class Twice : autograd.SingleTensorFunction<Twice>
        {
            public override string Name => "twice";
            public override Tensor forward(autograd.AutogradContext context, params object[] inputs) => (Tensor)inputs[0];
            public override List<Tensor> backward(autograd.AutogradContext context, Tensor gradient) => [gradient];
        }
        """));

    [Theory]
    [InlineData("Tensor F(Tensor x, Tensor y) => x.mm(y);")]
    [InlineData("object F(Tensor x) => x.cummax(0);")]
    [InlineData("void F() => set_num_threads(2);")]
    [InlineData("Tensor F() => zeros(3, dtype: (ScalarType)6);")]
    [InlineData("int F(ScalarType type) => (int)type;")]
    [InlineData("class Mine { public Mine matmul(Mine other) => this; } Mine F(Mine x) => x.matmul(x);")]
    public async Task Other_code_is_not(string member) => Assert.Empty(await Warnings(member));
}

using System.Reflection;
using System.Reflection.Emit;
using System.Text;
using System.Text.RegularExpressions;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the structures of kernel arguments, which C# and CUDA C++ declare separately. A compiler compares the size and the offsets of both.
/// </summary>
public class ArgumentLayoutTests
{
    public static TheoryData<string, string, Type> Structures => new()
    {
        { "AdamW.cu", "AdamWArguments", typeof(AdamWCuda.Arguments) },
        { "AdamW.cu", "AdamWTensor", typeof(AdamWCuda.TensorArguments) },
        { "BranchFusion.cu", "FusionArguments", typeof(BranchFusionCuda.Arguments) },
        { "CausalConvolution.cu", "ConvolutionArguments", typeof(CausalConvolutionCuda.Arguments) },
        { "CrossEntropy.cu", "CrossEntropyArguments", typeof(CrossEntropyCuda.Arguments) },
        { "EmptyGroups.cu", "EmptyGroupsArguments", Nested(typeof(EmptyGroupsCuda), "Arguments") },
        { "ExpertOrder.cu", "ExpertOrderArguments", Nested(typeof(ExpertOrderCuda), "Arguments") },
        { "ExpertRows.cu", "ExpertRowsArguments", Nested(typeof(ExpertRowsCuda), "Arguments") },
        { "ExpertRouting.cu", "RouteArguments", Nested(typeof(ExpertRoutingCuda), "RouteArguments") },
        { "ExpertRouting.cu", "MixArguments", Nested(typeof(ExpertRoutingCuda), "MixArguments") },
        { "FewRowsLinear.cu", "FewRowsArguments", typeof(FewRowsArguments) },
        { "FewRowsLinear.cu", "FewRowsCache", typeof(FewRowsArguments.CacheArguments) },
        { "FewRowsLinear.cu", "FewRowsConvolution", typeof(FewRowsArguments.ConvolutionArguments) },
        { "GatedDeltaChunkScan.cu", "DeltaArguments", typeof(GatedDeltaArguments) },
        { "GatedDeltaChunkScan.cu", "HeadRows", typeof(GatedDeltaRows) },
        { "GatedDeltaChunkScan.cu", "HeadNumbers", typeof(GatedDeltaNumbers) },
        { "GatedDeltaChannelPrepare.cu", "DeltaArguments", typeof(GatedDeltaArguments) },
        { "GatedDeltaChannelPairs.cu", "DeltaArguments", typeof(GatedDeltaArguments) },
        { "GatedDeltaStep.cu", "StepArguments", typeof(GatedDeltaStepCuda.Arguments) },
        { "GatedDeltaStep.cu", "Sequences", typeof(GatedDeltaStepCuda.TokenRows) },
        { "GradientNorm.cu", "NormTensor", typeof(GradientNormCuda.TensorArguments) },
        { "GradientNorm.cu", "RootArguments", typeof(GradientNormCuda.RootArguments) },
        { "GradientNorm.cu", "SquaresArguments", typeof(GradientNormCuda.SquaresArguments) },
        { "GreedyTokens.cu", "GreedyArguments", Nested(typeof(GreedyTokensCuda), "Arguments") },
        { "PartialSums.cu", "PartialSums", Nested(typeof(PartialSumsCuda), "Arguments") },
        { "PartialSums.cu", "PartialSum", Nested(typeof(PartialSumsCuda), "Sum") },
        { "RmsNorm.cu", "NormArguments", typeof(NormCuda.Arguments) },
        { "RmsNorm.cu", "NormGradientArguments", typeof(NormCuda.GradientArguments) },
        { "Rotary.cu", "RotaryArguments", Nested(typeof(RotaryCuda), "Arguments") },
        { "Rotary.cu", "AppendArguments", Nested(typeof(RotaryCuda), "AppendArguments") },
        { "SwiGlu.cu", "SwiGluArguments", typeof(SwiGluCuda.Arguments) },
        { "AttentionForward.cu", "AttentionArguments", typeof(AttentionArguments) },
        { "AttentionDecode.cu", "DecodeArguments", typeof(AttentionDecodeArguments) },
        { "SelectiveScan.cu", "ScanArguments", typeof(SelectiveScanCuda.Arguments) },
        { "StateSpaceDual.cu", "DualArguments", typeof(StateSpaceDualArguments) },
        { "StateUpdate.cu", "StepArguments", typeof(StateUpdateCuda.Arguments) },
    };

    static Type Nested(Type owner, string name) => owner.GetNestedType(name, BindingFlags.NonPublic)!;

    public static TheoryData<string> Files => [.. Structures.Select(row => row.Data.Item1).Distinct()];

    [Theory]
    [MemberData(nameof(Files))]
    public void Both_sides_of_the_arguments_of_a_kernel_have_one_layout(string file)
    {
        var checks = new StringBuilder("\n");
        foreach (var (_, structure, type) in Structures.Select(row => row.Data).Where(row => row.Item1 == file))
        {
            checks.Append($"static_assert(sizeof({structure}) == {SizeOf(type)}, \"size of {structure}\");\n");
            foreach (var field in type.GetFields(BindingFlags.Instance | BindingFlags.Public))
            {
                string name = Name(field);
                checks.Append($"static_assert(__builtin_offsetof({structure}, {name}) == {OffsetOf(field)}, \"{name} of {structure}\");\n");
            }
        }
        var (code, log) = Compile(CudaSource.Embedded(file), checks.ToString());
        Assert.True(code == 0, log);
    }

    [Fact]
    public void A_wrong_size_is_found_in_every_structure_of_a_file()
    {
        var structures = Structures.Select(row => row.Data).Where(row => row.Item1 == "FewRowsLinear.cu").ToArray();
        Assert.NotEmpty(structures);
        var (code, log) = Compile(CudaSource.Embedded("FewRowsLinear.cu"),
            string.Concat(structures.Select(row => $"\nstatic_assert(sizeof({row.Item2}) == {SizeOf(row.Item3) + 8}, \"size of {row.Item2}\");\n")));
        Assert.NotEqual(0, code);
        Assert.All(structures, row => Assert.Contains($"size of {row.Item2}\n", log.ReplaceLineEndings("\n")));
    }

    [Fact]
    public void The_arguments_of_every_kernel_are_compared()
    {
        var compared = Structures.Select(row => row.Data).Select(row => (File: row.Item1, Structure: row.Item2)).ToHashSet();
        var missing = from source in CudaSource.All
                      from Match kernel in Regex.Matches(source.Text, @"KERNEL\w*\([^\n]*?\b(\w*(?:Arguments|Sums))\b,")
                      let structure = kernel.Groups[1].Value
                      let isOwn = source.Text.Contains($"struct {structure} {{", StringComparison.Ordinal)
                      where isOwn ? !compared.Contains((source.Name, structure)) : !compared.Any(one => one.Structure == structure)
                      select $"{source.Name}: {structure}";
        Assert.Empty(missing);
    }

    static (int Code, string Log) Compile(CudaSource source, string checks)
    {
        CppCompiler.IsNeeded(CppCompiler.Ptx, "no clang with an NVPTX target: layouts were not compared (apt-get install clang-19)");
        string folder = Directory.CreateTempSubdirectory("layout").FullName;
        try
        {
            foreach (var (name, text) in source.Headers) File.WriteAllText(Path.Combine(folder, name), text);
            string path = Path.Combine(folder, source.Name);
            File.WriteAllText(path, source.Text + checks);
            return CppCompiler.Run(CppCompiler.Ptx!, "-x", "cuda", "--cuda-gpu-arch=sm_90a", "--cuda-feature=+ptx83", "-nocudainc", "-nocudalib",
                "--cuda-device-only", "-std=c++17", "-fsyntax-only", "-include", Path.Combine(CppCompiler.Headers, "ptx.hpp"), path);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    // A, B, C and D of the state-space operators keep their case
    static string Name(FieldInfo field) =>
        field.Name is "A" or "B" or "C" or "D" ? field.Name : char.ToLowerInvariant(field.Name[0]) + field.Name[1..];

    static int SizeOf(Type type) => (int)Run(il => il.Emit(OpCodes.Sizeof, type));

    static int OffsetOf(FieldInfo field) => (int)Run(il =>
    {
        var structure = il.DeclareLocal(field.DeclaringType!);
        il.Emit(OpCodes.Ldloca, structure);
        il.Emit(OpCodes.Ldflda, field);
        il.Emit(OpCodes.Conv_U);
        il.Emit(OpCodes.Ldloca, structure);
        il.Emit(OpCodes.Conv_U);
        il.Emit(OpCodes.Sub);
    });

    static long Run(Action<ILGenerator> emit)
    {
        var method = new DynamicMethod("layout", typeof(long), [], typeof(ArgumentLayoutTests).Module, skipVisibility: true);
        var il = method.GetILGenerator();
        emit(il);
        il.Emit(OpCodes.Conv_I8);
        il.Emit(OpCodes.Ret);
        return method.CreateDelegate<Func<long>>()();
    }
}

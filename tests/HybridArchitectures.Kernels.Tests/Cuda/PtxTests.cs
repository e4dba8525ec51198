using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Cuda.Attention;
using HybridArchitectures.Kernels.Cuda.GatedDelta;
using HybridArchitectures.Kernels.Cuda.StateSpace;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

public class PtxTests
{
    static IEnumerable<FewRowsShape> FewRowsShapes
    {
        get
        {
            var plain = new FewRowsShape(1, false, false, FewRowsNorm.None, FewRowsAfter.Sum, Taps: 4, Depth: 3, IsStored: true);
            var norm = plain with { Norm = FewRowsNorm.Plain };
            return
            [
                plain with { IsGated = true }, plain with { IsIndexed = true }, norm with { IsGated = true },
                norm with { After = FewRowsAfter.Cache }, norm with { After = FewRowsAfter.Convolution },
                plain with { Norm = FewRowsNorm.Gated }, plain with { IsStored = false },
            ];
        }
    }

    // what is compiled for each shape: the state-space dual (float32, documents, few and many states, products of four warps), norms of parts a few
    // lanes wide and of ones wider than a block holds, fusions of branches, the selective scan of few channels, and attention of several head sizes
    static IEnumerable<CudaSource> Shapes(int capability) =>
        new[] { StateSpaceDualShape.For(64, 128, true, 2, true, 90, 232_448), StateSpaceDualShape.For(128, 256, false, 1, false, 80, 166_912),
            StateSpaceDualShape.For(64, 128, false, 2, true, capability, 232_448) }
            .SelectMany(shape => new[] { CudaSource.Embedded(shape.Variant(true)), CudaSource.Embedded(shape.Variant(false)) })
            .Concat(from mode in Enum.GetValues<NormMode>() from vectors in new[] { 16L, 2100 } from backward in new[] { false, true }
                    select CudaSource.Embedded(NormLaunchConfiguration.For(vectors, backward, mode, ScalarType.BFloat16)
                        .Variant(mode, ScalarType.BFloat16, true)))
            .Concat(from form in Enum.GetValues<BranchFusionForm>() from backward in new[] { false, true }
                    select CudaSource.Embedded(new BranchFusionLaunchConfiguration(backward, form, false, 64, 256, 0)
                        .Variant(ScalarType.BFloat16, true)))
            .Concat(from half in new[] { true, false } from documents in new[] { false, true } from saves in new[] { false, true }
                    select CudaSource.Embedded(new SelectiveScanOptions(half, true, true, documents).FewChannels(saves)))
            .Append(CudaSource.Embedded(StateUpdateCuda.Variant(ScalarType.BFloat16)))
            .Append(CudaSource.Embedded(new SelectiveScanOptions(true, true, true, false).Variant(16, first: false)))
            .Append(CudaSource.Embedded(new SelectiveScanOptions(false, true, true, true).Variant(256, first: true)))
            .Concat(from sizes in new[] { (Head: 64L, Value: 64L), (72, 128), (256, 256) } from sinks in new[] { false, true }
                    let shape = AttentionShape.For(sizes.Head, sizes.Value, sinks, sinks, 232_448)
                    from source in sizes.Head > 128 ? [shape.Forward] : new[] { shape.Forward, shape.Backward }
                    where capability == 90 select CudaSource.Embedded(source))
            .Concat(from sizes in new[] { (Head: 64L, Value: 64L), (72, 128), (256, 256) } from sinks in new[] { false, true }
                    from memory in new[] { 101_376, 166_912 }
                    select CudaSource.Embedded(AttentionWarpShape.Forward(sizes.Head, sizes.Value, sinks, sinks, memory).Variant))
            .Concat(from sizes in new[] { (Head: 64L, Value: 64L), (72, 128), (128, 128) } from sinks in new[] { false, true }
                    from memory in new[] { 101_376, 166_912 }
                    select CudaSource.Embedded(AttentionWarpShape.Backward(sizes.Head, sizes.Value, sinks, sinks, memory).Variant))
            .Concat(from sizes in new[] { (Head: 256L, Value: 256L), (192, 128), (16, 144), (208, 256) } from sinks in new[] { false, true }
                    from memory in new[] { 101_376, 166_912, 232_448 }
                    from shape in new[] { AttentionWideShape.Keys(sizes.Head, sizes.Value, sinks, sinks, memory),
                        AttentionWideShape.Queries(sizes.Head, sizes.Value, sinks, sinks, memory) }
                    select CudaSource.Embedded(shape.Kernel.Variant))
            .Concat(from sizes in new[] { (Key: 64L, Value: 64L), (128, 128), (24, 72) } from many in new[] { false, true }
                    from form in Enum.GetValues<GatedDeltaForm>()
                    let shape = GatedDeltaShape.For(sizes.Key, sizes.Value, many, capability, 232_448, form)!
                    from name in new[] { shape.Prepare, GatedDeltaSource.ChunkScan, shape.Pairs }
                    select CudaSource.Embedded(shape.Variant(name)))
            .Concat(from rows in new[] { 1L, 16 } from form in Enum.GetValues<GatedDeltaForm>()
                    select CudaSource.Embedded(new GatedDeltaStepCuda.Variant(rows, form)))
            .Append(CudaSource.Embedded(new GatedDeltaStepCuda.Variant(16, GatedDeltaForm.HeadDecays, IsProjected: true)))
            .Concat(from tiles in new[] { 1, 2 } from shape in FewRowsShapes select CudaSource.Embedded((shape with { Tiles = tiles }).Variant))
            .Concat(from sizes in new[] { (Head: 64L, Value: 64L), (72, 128), (256, 256) }
                    from type in new[] { ScalarType.BFloat16, ScalarType.Float32 } from batch in new[] { 1, 64 }
                    from rows in new[] { 4, 40 } from capped in new[] { false, true }
                    select CudaSource.Embedded(AttentionDecodeShape.Create(type, sizes.Head, sizes.Value, batch, rows, capped, 101_376).Variant));

    // the same source once, and the longest first
    static IEnumerable<CudaSource> Distinct(IEnumerable<CudaSource> sources) =>
        sources.DistinctBy(source => (source.Name, source.Text)).OrderByDescending(source => source.Name.StartsWith("Se", StringComparison.Ordinal));

    static IEnumerable<CudaSource> Chosen(string architecture)
    {
        var all = Distinct(CudaSource.All.Concat(Shapes(90)));
        if (Effort.IsFull) return all;
        var whole = CudaSource.All.Single(source => source.Name == "SelectiveScan.cu");
        return architecture == "sm_80"
            ? all.DistinctBy(source => source.Name)
            : all.Where(source => source.Text != whole.Text).GroupBy(source => source.Name).SelectMany(Some);
    }

    // Every fifth form and the last one. The options of the forms have two or three values each, so that a step of five meets all values.
    static IEnumerable<CudaSource> Some(IEnumerable<CudaSource> forms)
    {
        var all = forms.ToArray();
        return all.Where((_, i) => i % 5 == 0 || i == all.Length - 1);
    }

    /// <summary>
    /// A full run of the tests generates PTX of every form of every source for both architectures. An everyday run generates it for some forms of
    /// each source, and for the newer architecture alone, because the sources differ only in instructions that the older one lacks: arrays are in
    /// local memory for both or for none. It checks one form of each source for the older one, which for the selective scan is the form with all
    /// shapes, types and launches.
    /// </summary>
    [Theory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void Every_kernel_becomes_PTX_without_stray_local_memory(string architecture)
    {
        CppCompiler.IsNeeded(CppCompiler.Ptx, "no clang with an NVPTX target: kernels were not turned into PTX (apt-get install clang-19)");
        var folder = Directory.CreateTempSubdirectory("ptx").FullName;
        try
        {
            Assert.NotEmpty(CudaSource.All);
            bool generates = Effort.IsFull || architecture != "sm_80";
            // no more compilers than processors: each takes 100 MB
            Parallel.ForEach(Chosen(architecture)
                .Select((source, i) => (Source: source, Folder: Directory.CreateDirectory(Path.Combine(folder, $"{i}")).FullName)),
                new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount },
                one => Check(one.Source, one.Folder, architecture, generates));
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    /// <summary>NVRTC checks the text of inline PTX, which clang does not. It needs no GPU.</summary>
    [Theory]
    [InlineData("sm_80")]
    [InlineData("sm_89")]
    [InlineData("sm_90a")]
    public void Every_kernel_is_assembled_by_NVRTC(string architecture)
    {
        nint library = 0;
        try
        {
            library = CudaRuntime.LoadCompiler();
        }
        catch (CudaException)
        {
            Assert.Skip("no NVRTC: inline PTX was not assembled");
        }
        var compiler = new CudaCompiler(library);
        string[] options = [$"--gpu-architecture={architecture}", "--std=c++17", "--device-as-default-execution-space"];
        Parallel.ForEach(CudaSource.All.Concat(Shapes(architecture == "sm_90a" ? 90 : 80)),
            source => Assert.NotEmpty(compiler.Compile(source, options)));
    }

    static void Check(CudaSource source, string folder, string architecture, bool generates)
    {
        foreach (var (name, text) in source.Headers.Prepend((source.Name, source.Text))) File.WriteAllText(Path.Combine(folder, name), text);
        var ptx = Path.Combine(folder, "out.ptx");
        var (code, log) = CppCompiler.Run(
            CppCompiler.Ptx!, "-x", "cuda", $"--cuda-gpu-arch={architecture}", "--cuda-feature=+ptx83", "-nocudainc", "-nocudalib",
            "--cuda-device-only", "-std=c++17", "-O2", "-Wall", "-Werror", generates ? "-S" : "-fsyntax-only",
            "-include", Path.Combine(CppCompiler.Headers, "ptx.hpp"),
            Path.Combine(folder, source.Name), "-o", ptx);
        Assert.True(code == 0, $"{source.Name} for {architecture}:\n{log}");
        if (!generates) return;
        var lines = File.ReadAllText(ptx);
        Assert.Contains(".visible .entry", lines);
        // an array that a run-time index reaches goes to local memory, which is slow
        Assert.False(lines.Contains(".local .align", StringComparison.Ordinal), $"{source.Name} keeps an array in local memory");
    }
}

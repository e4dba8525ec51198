namespace HybridArchitectures.Tests.Architecture;

/// <summary>Lines have at most 150 characters, and methods fewer than 40 lines.</summary>
public class LineTests
{
    const int Limit = 150, MethodLimit = 40;

    // files with long lines that have a reason; a file whose lines are short must leave the list
    static readonly Dictionary<string, string> LongLines = new()
    {
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/GpuOps.cs"] = "an interpolated string that cannot be divided",
        ["samples/Convert/README.md"] = "printed output",
        ["src/HybridArchitectures.Kernels/Cuda/common.cuh"] = "macros",
        ["src/HybridArchitectures.Kernels/Cuda/tensor_cores.cuh"] = "inline assembly",
        ["tests/Conformance/Program.cs"] = "the text of a help page",
        ["tests/HybridArchitectures.Tests/Design/RecipesDocument.cs"] = "the text of a page",
        ["tests/HybridArchitectures.Tests/Design/RemedyText.cs"] = "a regular expression",
        ["tests/HybridArchitectures.Training.Tests/Data/DocumentationCorpusTests.cs"] = "a line of an XML document",
    };

    // files with long methods that have a reason; a file whose methods are short must leave the list
    static readonly Dictionary<string, string> LongMethods = new()
    {
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/GpuCases.cs"] = "the list of all cases",
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/GpuMemory.cs"] = "one measurement in one body",
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/GpuMeter.cs"] = "one measurement in one body",
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/GpuOps.cs"] = "one measurement in one body",
        ["benchmarks/HybridArchitectures.Benchmarks/Gpu/TrainingMemoryTable.cs"] = "one measurement in one body",
        ["src/HybridArchitectures/Checkpoints/FalconH1Family.cs"] = "the mapping of one configuration",
        ["src/HybridArchitectures/Checkpoints/GraniteFamily.cs"] = "the mapping of one configuration",
        ["src/HybridArchitectures/Checkpoints/JambaFamily.cs"] = "the mapping of one configuration",
        ["src/HybridArchitectures/Checkpoints/NemotronHFamily.cs"] = "the mapping of one configuration",
        ["src/HybridArchitectures/Checkpoints/Zamba2Family.cs"] = "the mapping of one configuration",
        ["src/HybridArchitectures/Storage/ParallelRead.cs"] = "two local functions share a lock and a position",
        ["tests/Conformance/ConformanceTrajectory.cs"] = "one trajectory in order",
        ["tests/HybridArchitectures.Cli.Tests/CommandTests.cs"] = "one story of several commands",
        ["tests/HybridArchitectures.Kernels.Tests/StateSpaceDualOperator.cs"] = "the formula in one place",
        ["tests/HybridArchitectures.Tests/Checkpoints/PublishedSettings.cs"] = "a table",
        ["tests/HybridArchitectures.Tests/Checkpoints/SharedFolderTests.cs"] = "threads with common variables",
        ["tests/HybridArchitectures.Tests/Design/RecipesDocument.cs"] = "the text of a page",
        ["tests/HybridArchitectures.Tests/Design/RefusalTests.cs"] = "a table",
        ["tests/HybridArchitectures.Tests/Fuzz/SafetensorsFuzzTests.cs"] = "one fuzz loop",
        ["tests/HybridArchitectures.Tests/Generation/GraphDeviceTests.cs"] = "one story of a cache",
        ["tests/HybridArchitectures.Tests/Models/HybridCacheTests.cs"] = "one story of a cache",
        ["tests/HybridArchitectures.Training.Tests/Data/TokenShardsTests.cs"] = "one case per kind of damage",
        ["tests/HybridArchitectures.Training.Tests/Running/KillTests.cs"] = "one story of killed runs",
    };

    // the number of long methods of the kernels, which may only shrink
    const int LongKernelMethods = 13;
    const string Kernels = "src/HybridArchitectures.Kernels/";

    static string Relative(string path) => Path.GetRelativePath(Repository.Root, path).Replace(Path.DirectorySeparatorChar, '/');

    static IEnumerable<string> Files(params string[] patterns) => patterns
        .SelectMany(pattern => Directory.EnumerateFiles(Repository.Root, pattern, SearchOption.AllDirectories))
        .Where(path => !Path.GetRelativePath(Repository.Root, path).Split(Path.DirectorySeparatorChar)
            .Any(part => part is "bin" or "obj" or "packages" || part.StartsWith('.')));

    [Fact]
    public void Lines_have_at_most_150_characters()
    {
        // tables of Markdown have one line per row
        var found = (from path in Files("*.cs", "*.cu", "*.cuh", "*.md")
                     from line in File.ReadLines(path).Select((text, index) => (Text: text.TrimEnd(), Number: index + 1))
                     where line.Text.Length > Limit && !(path.EndsWith(".md", StringComparison.Ordinal) && line.Text.TrimStart().StartsWith('|'))
                     select (Path: Relative(path), line.Number)).ToArray();
        Assert.Empty(found.Where(line => !LongLines.ContainsKey(line.Path)).Select(line => $"{line.Path}:{line.Number}"));
        Assert.Empty(LongLines.Keys.Except(found.Select(line => line.Path)));
    }

    [Fact]
    public void Methods_have_fewer_than_40_lines()
    {
        var found = Files("*.cs").SelectMany(path => MethodLengths.Of(path).Where(one => one.Lines >= MethodLimit)
            .Select(one => (Path: Relative(path), Text: $"{one.Place}: {one.Lines} lines"))).ToArray();
        Assert.Empty(found.Where(one => !LongMethods.ContainsKey(one.Path) && !one.Path.StartsWith(Kernels, StringComparison.Ordinal))
            .Select(one => one.Text));
        Assert.Empty(LongMethods.Keys.Except(found.Select(one => one.Path)));
        string[] kernels = [.. found.Where(one => one.Path.StartsWith(Kernels, StringComparison.Ordinal)).Select(one => one.Text)];
        Assert.True(kernels.Length <= LongKernelMethods, $"expected at most {LongKernelMethods}:\n{string.Join('\n', kernels)}");
    }
}

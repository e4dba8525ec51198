namespace HybridArchitectures.Tests.Architecture;

/// <summary>Tests that lines have at most 150 characters, methods fewer than 40 lines, and device functions fewer than 100.</summary>
public class LineTests
{
    const int Limit = 150, MethodLimit = 40, DeviceFunctionLimit = 100;

    // files with long lines that have a reason; a file whose lines are short must leave the list
    static readonly Dictionary<string, string> LongLines = new()
    {
        ["samples/Convert/README.md"] = "printed output",
        ["tests/HybridArchitectures.Tests/Design/RemedyText.cs"] = "a regular expression",
        ["tests/HybridArchitectures.Training.Tests/Data/DocumentationCorpusTests.cs"] = "a line of an XML document",
    };

    // files with long methods that have a reason; a file whose methods are short must leave the list
    static readonly Dictionary<string, string> LongMethods = new()
    {
        ["src/HybridArchitectures.Kernels/Cpu/CausalConvolutionTask.cs"] = "a loop over vectors in registers",
        ["src/HybridArchitectures.Kernels/Cpu/NormKernel.cs"] = "a loop over vectors in registers",
        ["src/HybridArchitectures.Kernels/Cpu/StateSpace/SelectiveScanTaskBackward.cs"] = "a loop over vectors in registers",
        ["src/HybridArchitectures.Kernels/Cpu/StateSpace/StateSpaceDualTask.cs"] = "a loop over vectors in registers",
        ["src/HybridArchitectures.Kernels/Cpu/StateSpace/StateSpaceDualTile.cs"] = "a loop over vectors in registers",
        ["tests/HybridArchitectures.Tests/Checkpoints/PublishedSettings.cs"] = "a table",
        ["tests/HybridArchitectures.Tests/Design/RefusalTests.cs"] = "a table",
    };

    static string Relative(string path) => Path.GetRelativePath(Repository.Root, path).Replace(Path.DirectorySeparatorChar, '/');

    // device functions whose loops use nearly all registers: if they are split, compilers place instructions and registers differently
    static readonly string[] LongDeviceFunctions =
    [
        "BranchFusionRows.cuh: rows_backward", "SelectiveScanBackward.cuh: Scan::backward", "SelectiveScanFewChannels.cu: run",
        "SelectiveScanForward.cuh: Scan::forward", "StateSpaceDualGroupPairs.cuh: run", "StateSpaceDualPairs.cuh: run",
    ];

    [Fact]
    public void Lines_have_at_most_150_characters()
    {
        // tables of Markdown have one line per row
        var found = (from path in SourceFiles.Matching("*.cs", "*.cu", "*.cuh", "*.md")
                     from line in File.ReadLines(path).Select((text, index) => (Text: text.TrimEnd(), Number: index + 1))
                     where line.Text.Length > Limit && !(path.EndsWith(".md", StringComparison.Ordinal) && line.Text.TrimStart().StartsWith('|'))
                     select (Path: Relative(path), line.Number)).ToArray();
        Assert.Empty(found.Where(line => !LongLines.ContainsKey(line.Path)).Select(line => $"{line.Path}:{line.Number}"));
        Assert.Empty(LongLines.Keys.Except(found.Select(line => line.Path)));
    }

    [Fact]
    public void Methods_have_fewer_than_40_lines()
    {
        var found = SourceFiles.Matching("*.cs").SelectMany(path => MethodLengths.Of(path).Where(one => one.Lines >= MethodLimit)
            .Select(one => (Path: Relative(path), Text: $"{one.Place}: {one.Lines} lines"))).ToArray();
        Assert.Empty(found.Where(one => !LongMethods.ContainsKey(one.Path)).Select(one => one.Text));
        Assert.Empty(LongMethods.Keys.Except(found.Select(one => one.Path)));
    }

    [Fact]
    public void Device_functions_have_fewer_than_100_lines()
    {
        string[] functions = [.. SourceFiles.Matching("*.cu", "*.cuh").SelectMany(MethodLengths.OfDevice)
            .Where(one => one.Lines >= DeviceFunctionLimit).Select(one => one.Place).Order(StringComparer.Ordinal)];
        Assert.Equal(LongDeviceFunctions, functions);
    }
}

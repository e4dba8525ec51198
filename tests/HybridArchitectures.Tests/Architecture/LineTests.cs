namespace HybridArchitectures.Tests.Architecture;

/// <summary>Lines have at most 150 characters, and methods fewer than 40 lines.</summary>
public class LineTests
{
    const int Limit = 150, MethodLimit = 40;

    // what is left, and may only shrink: literals that cannot be broken, printed output and macros
    const int LongLines = 12, LongMethods = 48;

    static IEnumerable<string> Files(params string[] patterns) => patterns
        .SelectMany(pattern => Directory.EnumerateFiles(Repository.Root, pattern, SearchOption.AllDirectories))
        .Where(path => !Path.GetRelativePath(Repository.Root, path).Split(Path.DirectorySeparatorChar)
            .Any(part => part is "bin" or "obj" or "packages" || part.StartsWith('.')));

    [Fact]
    public void Lines_have_at_most_150_characters()
    {
        // tables of Markdown have one line per row
        var found = from path in Files("*.cs", "*.cu", "*.cuh", "*.md")
                    from line in File.ReadLines(path).Select((text, index) => (Text: text.TrimEnd(), Number: index + 1))
                    where line.Text.Length > Limit && !(path.EndsWith(".md", StringComparison.Ordinal) && line.Text.TrimStart().StartsWith('|'))
                    select $"{Path.GetRelativePath(Repository.Root, path)}:{line.Number}";
        string[] lines = [.. found.Order(StringComparer.Ordinal)];
        Assert.True(lines.Length <= LongLines,
            $"{lines.Length} lines are longer than {Limit} characters; expected at most {LongLines}:\n{string.Join('\n', lines)}");
    }

    [Fact]
    public void Methods_have_fewer_than_40_lines()
    {
        string[] methods = [.. Files("*.cs").SelectMany(MethodLengths.Of).Where(one => one.Lines >= MethodLimit)
            .Select(one => $"{one.Place}: {one.Lines} lines").Order(StringComparer.Ordinal)];
        Assert.True(methods.Length <= LongMethods,
            $"{methods.Length} methods have {MethodLimit} lines or more; expected at most {LongMethods}:\n{string.Join('\n', methods)}");
    }
}

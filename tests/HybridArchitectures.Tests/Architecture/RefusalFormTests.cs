using System.Text.RegularExpressions;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>Tests that one class words the refusals of arguments, so that all of them read "name is VALUE; expected EXPECTED."</summary>
public partial class RefusalFormTests
{
    [Fact]
    public void Only_Require_creates_argument_exceptions() => Assert.Empty(
        from path in Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories)
        where !path.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)
            && Path.GetFileName(path) != "Require.cs" && Creation().IsMatch(File.ReadAllText(path))
        select Path.GetRelativePath(Repository.Root, path));

    [GeneratedRegex(@"new Argument(OutOfRange)?Exception\(|Argument\w*Exception\.ThrowIf(?!Null\()")]
    private static partial Regex Creation();
}

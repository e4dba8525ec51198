namespace HybridArchitectures.Tests.Architecture;

/// <summary>Tests how files declare their namespace and their imports. The build checks this for the libraries only.</summary>
public class NamespaceDeclarationTests
{
    // compiled into the programs of users, whose version of the language may be older
    const string ForUsers = "HybridArchitectures.Startup.cs";

    [Fact]
    public void Namespaces_are_declared_for_whole_files_and_after_the_imports()
    {
        string[] files = [.. SourceFiles.Matching("*.cs").Where(path => Path.GetFileName(path) != ForUsers)];
        Assert.NotEmpty(files);
        Assert.All(files, path => Assert.True(IsDeclaredWell(File.ReadLines(path)), path));
    }

    [Theory]
    [InlineData(true, "using A;", "namespace B;", "class C;")]
    [InlineData(true, "using A;", "using var c = D();")]
    [InlineData(false, "using A;", "namespace B", "{")]
    [InlineData(false, "namespace B {")]
    [InlineData(false, "namespace B;", "using A;")]
    public void Other_declarations_are_found(bool isDeclaredWell, params string[] lines) => Assert.Equal(isDeclaredWell, IsDeclaredWell(lines));

    static bool IsDeclaredWell(IEnumerable<string> lines)
    {
        bool isInside = false;
        foreach (var line in lines.Select(line => line.TrimEnd()))
        {
            bool isNamespace = line.StartsWith("namespace ", StringComparison.Ordinal);
            if (isNamespace && !line.EndsWith(';')) return false;
            if (isInside && line.StartsWith("using ", StringComparison.Ordinal)) return false;
            isInside |= isNamespace;
        }
        return true;
    }
}

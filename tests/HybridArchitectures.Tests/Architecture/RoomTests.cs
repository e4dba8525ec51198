using System.Text.RegularExpressions;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>Each folder is one namespace with one purpose, and dependencies between them point one way.</summary>
public partial class RoomTests
{
    [Fact]
    public void No_two_namespaces_depend_on_each_other() => Assert.Empty(new NamespaceGraph(typeof(HybridDesign).Assembly).Cycles());

    [Fact]
    public void The_namespace_of_a_file_is_its_folder()
    {
        string root = Path.Combine(Repository.Root, "src", "HybridArchitectures");
        foreach (string path in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories))
        {
            string folder = Path.GetRelativePath(root, Path.GetDirectoryName(path)!);
            if (folder.Split(Path.DirectorySeparatorChar)[0] is "bin" or "obj") continue;
            string expected = folder == "." ? "HybridArchitectures" : $"HybridArchitectures.{folder.Replace(Path.DirectorySeparatorChar, '.')}";
            Assert.Equal((path, expected), (path, Namespace().Match(File.ReadAllText(path)).Groups[1].Value));
        }
    }

    [GeneratedRegex(@"^namespace ([\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Namespace();
}

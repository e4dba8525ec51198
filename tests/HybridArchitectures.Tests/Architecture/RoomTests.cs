using System.Text.RegularExpressions;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>Tests that each folder is one namespace with one purpose, and that dependencies between them point in one direction.</summary>
public partial class RoomTests
{
    [Theory]
    [InlineData(typeof(HybridDesign))]
    [InlineData(typeof(OperatorOptions))]
    public void No_two_namespaces_depend_on_each_other(Type one) => Assert.Empty(new NamespaceGraph(one.Assembly).Cycles());

    [Theory]
    [InlineData("HybridArchitectures")]
    [InlineData("HybridArchitectures.Kernels")]
    [InlineData("HybridArchitectures.Training")]
    [InlineData("HybridArchitectures.Evaluation")]
    [InlineData("HybridArchitectures.Reports")]
    [InlineData("HybridArchitectures.Cli")]
    public void The_namespace_of_a_file_is_its_folder(string project)
    {
        string root = Path.Combine(Repository.Root, "src", project);
        foreach (string path in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories))
        {
            string folder = Path.GetRelativePath(root, Path.GetDirectoryName(path)!);
            if (folder.Split(Path.DirectorySeparatorChar)[0] is "bin" or "obj" or "buildTransitive") continue;
            if (Path.GetFileName(path) == "Program.cs") continue;     // the statements of a program have no namespace
            string expected = folder == "." ? project : $"{project}.{folder.Replace(Path.DirectorySeparatorChar, '.')}";
            Assert.Equal((path, expected), (path, Namespace().Match(File.ReadAllText(path)).Groups[1].Value));
        }
    }

    [GeneratedRegex(@"^namespace ([\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Namespace();
}

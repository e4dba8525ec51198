namespace HybridArchitectures.Tests.Architecture;

/// <summary>Finds files of the repository, except those that a build or a tool writes.</summary>
static class SourceFiles
{
    public static IEnumerable<string> Matching(params string[] patterns) => patterns
        .SelectMany(pattern => Directory.EnumerateFiles(Repository.Root, pattern, SearchOption.AllDirectories))
        .Where(path => !Path.GetRelativePath(Repository.Root, path).Split(Path.DirectorySeparatorChar)
            .Any(part => part is "bin" or "obj" or "packages" || part.StartsWith('.')));
}

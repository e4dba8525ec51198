namespace HybridArchitectures;

/// <summary>Finds the sources that the tests read.</summary>
internal static class Repository
{
    /// <summary>Gets the folder of the solution.</summary>
    public static string Root { get; } = Find();

    static string Find()
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
            if (File.Exists(Path.Combine(at.FullName, "HybridArchitectures.sln"))) return at.FullName;
        throw new DirectoryNotFoundException($"no HybridArchitectures.sln above {AppContext.BaseDirectory}");
    }
}

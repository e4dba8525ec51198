namespace HybridArchitectures.Reports.Tests;

/// <summary>A new empty folder that goes away with its contents.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("hybrid-reports-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

namespace HybridArchitectures.Reports.Tests;

/// <summary>Creates an empty folder that is deleted with its contents.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("hybrid-reports-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

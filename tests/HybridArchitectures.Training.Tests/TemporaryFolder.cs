namespace HybridArchitectures.Training.Tests;

/// <summary>Provides a folder for one test, which is deleted at its end.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("hybrid-test-").FullName;

    /// <summary>Gets a path in the folder, with the separators of the system.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name.Replace('/', System.IO.Path.DirectorySeparatorChar));

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

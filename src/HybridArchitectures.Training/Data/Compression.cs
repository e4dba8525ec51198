namespace HybridArchitectures.Training;

/// <summary>How a file of documents is compressed.</summary>
enum Compression
{
    None,
    Gzip,
    Zstandard,
}

namespace HybridArchitectures.Training;

/// <summary>Specifies how a file of documents is compressed.</summary>
enum Compression
{
    None,
    Gzip,
    Zstandard,
}

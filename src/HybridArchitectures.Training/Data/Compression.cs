namespace HybridArchitectures.Training.Data;

/// <summary>Specifies how a file of documents is compressed.</summary>
enum Compression
{
    None,
    Gzip,
    Zstandard,
}

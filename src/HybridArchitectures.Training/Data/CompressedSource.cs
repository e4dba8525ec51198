using ICSharpCode.SharpZipLib.GZip;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Provides the uncompressed bytes of a file as a stream. Every exception of a decompressor becomes an <see cref="InvalidDataException"/> that names
/// the file.
/// </summary>
sealed class CompressedSource : IDisposable
{
    const int BlockBytes = 1 << 16;

    readonly DocumentFile owner;
    readonly long maxWindow;
    readonly FileStream file;
    readonly Stream stream;

    public CompressedSource(DocumentFile owner, Compression compression, long maxWindow)
    {
        (this.owner, this.maxWindow) = (owner, maxWindow);
        file = new FileStream(owner.Path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, BlockBytes);
        stream = compression switch
        {
            Compression.Zstandard => Zstandard(file, maxWindow),
            // the stream of .NET treats a truncated file as a shorter one
            Compression.Gzip => new GZipInputStream(file, BlockBytes),
            _ => file,
        };
    }

    static DecompressionStream Zstandard(FileStream file, long maxWindow)
    {
        var stream = new DecompressionStream(file);
        // the limit is a power of 2; other values are rounded down
        stream.SetParameter(ZSTD_dParameter.ZSTD_d_windowLogMax, System.Numerics.BitOperations.Log2((ulong)maxWindow));
        return stream;
    }

    /// <summary>Returns the number of bytes read; 0 at the end.</summary>
    public int Read(Span<byte> target)
    {
        try
        {
            int got = stream.Read(target);
            owner.Position = file.Position;
            return got;
        }
        catch (ZstdException e) when (e.Code == ZSTD_ErrorCode.ZSTD_error_frameParameter_windowTooLarge)
        {
            throw new InvalidDataException(
                $"{owner.Path}: a Zstandard frame needs a larger window than {maxWindow} bytes, the limit for reading; the file is not "
                + $"damaged. Expected a smaller window, or {nameof(DocumentFileOptions.MaxZstandardWindow)} raised (to 2147483648 for every file)",
                e);
        }
        catch (Exception e) when (IsDamage(e))
        {
            throw new InvalidDataException($"{owner.Path}: damaged or truncated at about offset {file.Position} of {owner.Length}: {e.Message}", e);
        }
    }

    // decompressors throw exceptions of every kind on damaged input, including index errors
    static bool IsDamage(Exception e) => e is EndOfStreamException || e is not (OutOfMemoryException or IOException or UnauthorizedAccessException);

    public void Dispose()
    {
        stream.Dispose();
        file.Dispose();
    }
}

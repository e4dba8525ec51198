using ICSharpCode.SharpZipLib.GZip;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace HybridArchitectures.Training;

/// <summary>The uncompressed bytes of a file, as a stream. Whatever a decompressor throws becomes an <see cref="InvalidDataException"/> that names the file.</summary>
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
            // The framework's own stream takes a truncated file for a shorter one.
            Compression.Gzip => new GZipInputStream(file, BlockBytes),
            _ => file,
        };
    }

    static DecompressionStream Zstandard(FileStream file, long maxWindow)
    {
        var stream = new DecompressionStream(file);
        // The limit is a power of 2; a limit between two of them means the smaller one.
        stream.SetParameter(ZSTD_dParameter.ZSTD_d_windowLogMax, System.Numerics.BitOperations.Log2((ulong)maxWindow));
        return stream;
    }

    /// <summary>Returns how many bytes were read; 0 at the end.</summary>
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
            throw new InvalidDataException($"{owner.Path}: a Zstandard frame needs a larger window than {maxWindow} bytes, which is the limit set for reading and "
                + $"not damage; expected a smaller window, or {nameof(DocumentFileOptions.MaxZstandardWindow)} raised (to 2147483648 for every file)", e);
        }
        catch (Exception e) when (IsDamage(e))
        {
            throw new InvalidDataException($"{owner.Path}: damaged or truncated at about offset {file.Position} of {owner.Length}: {e.Message}", e);
        }
    }

    // The decompressors throw exceptions of every kind on damaged input, errors of their own indexing included.
    static bool IsDamage(Exception e) => e is EndOfStreamException || e is not (OutOfMemoryException or IOException or UnauthorizedAccessException);

    public void Dispose()
    {
        stream.Dispose();
        file.Dispose();
    }
}

using System.Buffers.Binary;
using System.Text;
using ICSharpCode.SharpZipLib.Checksum;
using Microsoft.Win32.SafeHandles;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads the texts of one column of a parquet file page by page. Every size in the file is checked before memory is allocated, runs of nulls are
/// skipped as a whole, and every fault is an <see cref="InvalidDataException"/> that names the file.
/// </summary>
sealed class ParquetColumn : IDisposable
{
    const int MarkBytes = 4, TailBytes = 8, MaxDirectoryBytes = 1 << 28, HeaderBytes = 1 << 10;

    readonly DocumentFile owner;
    readonly DocumentFileOptions options;
    readonly SafeFileHandle file;
    readonly ParquetDirectory directory;
    int group = -1;
    long at, end, row, valuesLeft;       // of the part of the column in the row group
    int pageLeft, runLeft;              // the remaining values of the page, and of the current run
    RunDecoder? levels;
    ParquetValues? values;
    IReadOnlyList<ReadOnlyMemory<byte>>? dictionary;
    byte[] compressed = [];

    public ParquetColumn(DocumentFile owner, DocumentFileOptions options)
    {
        (this.owner, this.options) = (owner, options);
        file = File.OpenHandle(owner.Path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        try
        {
            directory = ReadDirectory(RandomAccess.GetLength(file));
        }
        catch (Exception e)
        {
            file.Dispose();
            if (IsDamage(e)) throw new InvalidDataException($"{owner.Path}: {e.Message}", e);
            throw;
        }
    }

    ParquetDirectory ReadDirectory(long length)
    {
        var whole = $"no whole parquet file; its directory should end at offset {length}";
        if (length < MarkBytes + TailBytes) throw new InvalidDataException(whole);
        Span<byte> tail = stackalloc byte[TailBytes];
        ReadFully(tail, length - TailBytes);
        if (tail[4..].SequenceEqual("PARE"u8)) throw new InvalidDataException("the file is encrypted, which is not supported");
        if (!tail[4..].SequenceEqual("PAR1"u8)) throw new InvalidDataException(whole + " with PAR1");
        uint size = BinaryPrimitives.ReadUInt32LittleEndian(tail);
        if (size > length - MarkBytes - TailBytes) throw new InvalidDataException($"{whole} and have {size} bytes");
        if (size > MaxDirectoryBytes) throw new InvalidDataException($"a directory of {size} bytes; expected at most {MaxDirectoryBytes}");
        var bytes = new byte[size];
        long start = length - TailBytes - size;
        ReadFully(bytes, start);
        return new ParquetDirectory(bytes, start, options.TextColumn);
    }

    /// <summary>Reads the next text that is not null.</summary>
    /// <param name="text">The text.</param>
    /// <param name="replaced">Incremented by the number of unpaired surrogates that became U+FFFD.</param>
    /// <returns>False at the end of the file.</returns>
    public bool TryRead(out string? text, ref long replaced)
    {
        long begun = at;
        try
        {
            text = null;
            if (!MoveToValue()) return false;
            text = Utf8Text.Decode(values!.Next().Span, ref replaced);
            runLeft--;
            row++;
            return true;
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException($"{Location(begun)}, row {row}: bytes that are no UTF-8 at offset {e.Index} of the text", e);
        }
        catch (Exception e) when (IsDamage(e))
        {
            throw new InvalidDataException($"{Location(begun)}, is damaged: {e.Message}", e);
        }
    }

    // decompressors throw exceptions of every kind on damaged input, including index errors
    static bool IsDamage(Exception e) =>
        e is EndOfStreamException || e is not (OutOfMemoryException or IOException or UnauthorizedAccessException or ObjectDisposedException);

    string Location(long begun) => $"{owner.Path}: row group {group} of {directory.Chunks.Count}, column '{options.TextColumn}' at offset {begun}";

    // sets runLeft to the number of following values that are not null
    bool MoveToValue()
    {
        while (runLeft == 0)
        {
            if (pageLeft == 0)
            {
                if (valuesLeft == 0 && !NextGroup()) return false;
                if (valuesLeft > 0) NextPage();
                continue;
            }
            int level = directory.Column.Levels;
            int count = levels?.Take(pageLeft, out level) ?? pageLeft;
            if (level > directory.Column.Levels)
                throw new InvalidDataException($"a definition level of {level}; expected at most {directory.Column.Levels}");
            pageLeft -= count;
            if (level == directory.Column.Levels) runLeft = count;
            else row += count;
        }
        return true;
    }

    bool NextGroup()
    {
        if (group + 1 >= directory.Chunks.Count)
        {
            owner.Position = owner.Length;
            return false;
        }
        var chunk = directory.Chunks[++group];
        (at, end, valuesLeft, row, dictionary) = (chunk.Start, chunk.Start + chunk.Bytes, chunk.Values, 0, null);
        owner.Position = at;
        return true;
    }

    void NextPage()
    {
        var page = ReadHeader();
        if (page.CompressedBytes < 0 || page.CompressedBytes > end - at - page.HeaderBytes)
            throw new InvalidDataException($"a page of {page.CompressedBytes} bytes at {at}, where {end - at - page.HeaderBytes} are left");
        if (page.Bytes < 0 || page.Bytes > options.MaxDocumentBytes || page.CompressedBytes > options.MaxDocumentBytes)
            throw new InvalidDataException(
                $"a page of {page.Bytes} bytes, {page.CompressedBytes} compressed; expected at most {options.MaxDocumentBytes}, "
                + $"the limit that {nameof(DocumentFileOptions.MaxDocumentBytes)} sets");
        if (compressed.Length < page.CompressedBytes) compressed = new byte[page.CompressedBytes];
        var bytes = compressed.AsMemory(0, page.CompressedBytes);
        ReadFully(bytes.Span, at + page.HeaderBytes);
        CheckSum(page, bytes.Span);
        at += page.HeaderBytes + page.CompressedBytes;
        owner.Position = at;
        int codec = directory.Chunks[group].Codec;
        if (page.Kind == ParquetPage.Dictionary)
            dictionary = ParquetValues.ReadDictionary(ParquetCodec.Decompress(codec, bytes, page.Bytes, options.MaxZstandardWindow), page.Values);
        if (page.Kind is not (ParquetPage.Data or ParquetPage.DataOfVersion2)) return;
        if (page.Values < 0 || page.Values > valuesLeft)
            throw new InvalidDataException($"a page of {page.Values} values, where {valuesLeft} are left");
        if (page.Kind == ParquetPage.Data) OpenVersion1(page, ParquetCodec.Decompress(codec, bytes, page.Bytes, options.MaxZstandardWindow));
        else OpenVersion2(page, bytes, codec);
        pageLeft = page.Values;
        valuesLeft -= page.Values;
    }

    ParquetPage ReadHeader()
    {
        // most headers are short; one with long statistics is read again. Statistics contain at most four strings of the page: the first and the
        // last, under an old and a new name
        long limit = Math.Min(4L * options.MaxDocumentBytes + HeaderBytes, Array.MaxLength);
        for (long size = HeaderBytes; ; size = Math.Min(2 * size, limit))
        {
            var bytes = new byte[Math.Min(size, end - at)];
            ReadFully(bytes, at);
            try
            {
                return ParquetPage.Read(bytes);
            }
            catch (EndOfStreamException) when (bytes.Length == size)
            {
                if (size == limit)
                    throw new InvalidDataException(
                        $"a page's header of more than {limit} bytes; expected strings of at most {options.MaxDocumentBytes}, "
                        + $"the limit that {nameof(DocumentFileOptions.MaxDocumentBytes)} sets");
            }
        }
    }

    static void CheckSum(ParquetPage page, Span<byte> bytes)
    {
        if (page.Checksum is not { } expected) return;
        var crc = new Crc32();
        crc.Update(new ArraySegment<byte>(bytes.ToArray()));
        if ((uint)crc.Value != expected) throw new InvalidDataException($"a page whose checksum is {(uint)crc.Value:x8}; expected {expected:x8}");
    }

    // four bytes of length before the levels, and everything compressed together
    void OpenVersion1(ParquetPage page, ReadOnlyMemory<byte> data)
    {
        levels = null;
        if (directory.Column.Levels > 0)
        {
            if (page.LevelEncoding != 3) throw new InvalidDataException($"definition levels in encoding {page.LevelEncoding}; expected 3 (RLE)");
            int size = data.Length < 4 ? -1 : BinaryPrimitives.ReadInt32LittleEndian(data.Span);
            if (size < 0 || size > data.Length - 4) throw new InvalidDataException($"definition levels of {size} bytes in a page of {data.Length}");
            levels = LevelsOf(data.Slice(4, size));
            data = data[(4 + size)..];
        }
        values = ParquetValues.Create(page.Encoding, data, page.Values, dictionary, options.MaxDocumentBytes);
    }

    // levels are not compressed
    void OpenVersion2(ParquetPage page, ReadOnlyMemory<byte> data, int codec)
    {
        if (page.RepetitionBytes < 0 || page.DefinitionBytes < 0
            || (long)page.RepetitionBytes + page.DefinitionBytes > Math.Min(data.Length, page.Bytes))
            throw new InvalidDataException($"levels of {page.RepetitionBytes} and {page.DefinitionBytes} bytes in a page of {data.Length}");
        int before = page.RepetitionBytes + page.DefinitionBytes, size = page.Bytes - before;
        levels = directory.Column.Levels > 0 ? LevelsOf(data.Slice(page.RepetitionBytes, page.DefinitionBytes)) : null;
        data = data[before..];
        // a page without values may have nothing to decompress
        var bytes = data.IsEmpty && size == 0 ? data : ParquetCodec.Decompress(page.IsCompressed ? codec : 0, data, size, options.MaxZstandardWindow);
        values = ParquetValues.Create(page.Encoding, bytes, page.Values, dictionary, options.MaxDocumentBytes);
    }

    RunDecoder LevelsOf(ReadOnlyMemory<byte> data) => new(data, 1 + System.Numerics.BitOperations.Log2((uint)directory.Column.Levels));

    void ReadFully(Span<byte> target, long from)
    {
        while (target.Length > 0)
        {
            int got = RandomAccess.Read(file, target, from);
            if (got == 0) throw new EndOfStreamException($"the file ends at offset {from}; expected {target.Length} bytes more");
            target = target[got..];
            from += got;
        }
    }

    public void Dispose() => file.Dispose();
}

using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Parquet;
using Parquet.Schema;

namespace HybridArchitectures.Training.Tests.Data;

/// <summary>Writes texts as files of every layout.</summary>
static class SampleFiles
{
    public static string[] Texts(int count, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count)
            .Select(i => $"Document {i}: "
            + string.Concat(Enumerable.Range(0, random.Next(1, 60)).Select(_ => "größe 東京 \"x\"\n"[random.Next(13)])))];
    }

    /// <summary>Writes the layout of DCLM, in which the text is between other properties.</summary>
    public static byte[] JsonLines(IEnumerable<string?> texts) => Encoding.UTF8.GetBytes(string.Concat(texts.Select((text, i) =>
        JsonSerializer.Serialize(new { bff_contained_ngram_count_before_dedupe = i, metadata = new { text = "not this", list = new[] { 1, 2 } }, text,
            url = "https://example.org" }) + (i % 3 == 1 ? "\r\n\n" : "\n"))));

    public static byte[] Gzip(byte[] bytes)
    {
        using var target = new MemoryStream();
        using (var stream = new GZipStream(target, CompressionLevel.Fastest, leaveOpen: true)) stream.Write(bytes);
        return target.ToArray();
    }

    /// <summary>Returns a Zstandard frame of one uncompressed block, which declares a window of any size.</summary>
    public static byte[] ZstdWithWindow(byte[] bytes, int windowLog)
    {
        int block = bytes.Length << 3 | 1;
        return [0x28, 0xb5, 0x2f, 0xfd, 0, (byte)((windowLog - 10) << 3), (byte)block, (byte)(block >> 8), (byte)(block >> 16), .. bytes];
    }

    public static byte[] Zstd(byte[] bytes) => new ZstdSharp.Compressor().Wrap(bytes).ToArray();

    /// <summary>Writes the layout of FineWeb, in which the text is among other columns, in several row groups.</summary>
    public static async Task Parquet(string path, string?[] texts, int rowsAGroup = 40, string column = "text")
    {
        var schema = new ParquetSchema(
            new DataField<string>(column), new DataField<string>("id"), new DataField<double>("language_score", nullable: false),
            new DataField<long>("token_count", nullable: false));
        await using var stream = File.Create(path);
        await using var writer = await ParquetWriter.CreateAsync(schema, stream);
        for (int start = 0; start < texts.Length; start += rowsAGroup)
        {
            var part = texts[start..Math.Min(texts.Length, start + rowsAGroup)];
            using var group = writer.CreateRowGroup();
            await group.WriteAsync(schema.DataFields[0], part!);
            await group.WriteAsync(schema.DataFields[1], part.Select((_, i) => $"<urn:{start + i}>").ToArray());
            await group.WriteAsync<double>(schema.DataFields[2], new double[part.Length]);
            await group.WriteAsync<long>(schema.DataFields[3], new long[part.Length]);
        }
    }
}

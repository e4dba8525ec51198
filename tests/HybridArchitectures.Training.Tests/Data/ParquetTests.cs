using System.Buffers.Binary;
using HybridArchitectures.Training.Data;
using Parquet;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class ParquetTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static string Arrow(string name) => Path.Combine(AppContext.BaseDirectory, "Data", "Arrow", name + ".parquet");

    string Write(byte[] bytes)
    {
        File.WriteAllBytes(folder["a.parquet"], bytes);
        return folder["a.parquet"];
    }

    static string Refused(string path, DocumentFileOptions? options = null)
    {
        var message = Assert.Throws<InvalidDataException>(() => new DocumentFile(path, options ?? new()).Read().Count()).Message;
        Assert.StartsWith(path, message);
        return message;
    }

    // Written by Apache Arrow's C++ library (ParquetSharp 25.0.1.2): 24 rows in two row groups, pages of 64 bytes.
    [Theory]
    [InlineData("Snappy-Dictionary-V1")]
    [InlineData("Lz4-Dictionary-V2")]
    [InlineData("Zstd-Plain-V2")]
    [InlineData("Gzip-DeltaLengthByteArray-V2")]
    [InlineData("Brotli-DeltaByteArray-V1")]
    [InlineData("Uncompressed-DeltaByteArray-V2")]
    public void Files_of_another_writer_are_read_in_every_codec_encoding_and_page_version(string name)
    {
        var texts = SampleFiles.Texts(24, 3).Select((text, i) => i % 7 == 3 ? null : i % 5 == 1 ? "same same" : text).OfType<string>();
        Assert.Equal(texts, new DocumentFile(Arrow(name)).Read());
    }

    [Theory]
    [InlineData(CompressionMethod.None)]
    [InlineData(CompressionMethod.Snappy)]
    [InlineData(CompressionMethod.Gzip)]
    [InlineData(CompressionMethod.Brotli)]
    [InlineData(CompressionMethod.Zstd)]
    [InlineData(CompressionMethod.LZ4)]
    public async Task Columns_inside_groups_and_columns_without_nulls_are_read(CompressionMethod compression)
    {
        var texts = SampleFiles.Texts(500);
        var plain = new Parquet.Schema.DataField<string>("text", nullable: false);
        var inner = new Parquet.Schema.DataField<string>("text");
        var schema = new Parquet.Schema.ParquetSchema(plain, new Parquet.Schema.StructField("inner", inner));
        await using (var stream = File.Create(folder["a.parquet"]))
        await using (var writer = await ParquetWriter.CreateAsync(schema, stream, new ParquetOptions { CompressionMethod = compression }))
        {
            using var group = writer.CreateRowGroup();
            await group.WriteAsync(schema.DataFields[0], texts);
            await group.WriteAsync(schema.DataFields[1], Array.ConvertAll(texts, text => text.ToUpperInvariant()));
        }
        Assert.Equal(texts, new DocumentFile(folder["a.parquet"]).Read());
        Assert.Equal(texts.Select(text => text.ToUpperInvariant()), new DocumentFile(folder["a.parquet"], "inner.text").Read());
    }

    [Fact]
    public async Task A_list_of_strings_is_refused_by_name()
    {
        var list = new Parquet.Schema.DataField<string[]>("text");
        var schema = new Parquet.Schema.ParquetSchema(list);
        await using (var stream = File.Create(folder["a.parquet"]))
        await using (var writer = await ParquetWriter.CreateAsync(schema, stream)) { }
        Assert.Contains("column 'text' is a list; expected one string per row", Refused(folder["a.parquet"]));
    }

    [Fact]
    public void A_refused_file_is_closed()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the list of open files is that of Linux");
        var good = File.ReadAllBytes(Arrow("Zstd-Plain-V2"));
        foreach (var bytes in new[] { good[..^1], [.. good[..60], 0xff, .. good[61..]] })
        {
            Refused(Write(bytes));
            Assert.DoesNotContain(Directory.GetFiles("/proc/self/fd"), link => new FileInfo(link).LinkTarget == folder["a.parquet"]);
        }
    }

    [Fact]
    public void Declared_sizes_take_no_memory()
    {
        // every 4 bytes of the file in turn become a large number of each kind the format has
        var good = File.ReadAllBytes(Arrow("Snappy-Dictionary-V1"));
        byte[] varint = [0xfe, 0xff, 0xff, 0xff, 0x0f];
        for (int at = 4; at + 5 < good.Length - 8; at += 3)
            foreach (bool isVarint in new[] { true, false })
            {
                var bytes = good.ToArray();
                if (isVarint) varint.CopyTo(bytes, at);
                else BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at), 0x7ffffff0);
                var path = Write(bytes);
                long before = GC.GetAllocatedBytesForCurrentThread();
                try
                {
                    Assert.InRange(new DocumentFile(path).Read().Take(10_000).Count(), 0, 10_000);
                }
                catch (InvalidDataException e)
                {
                    Assert.StartsWith(path, e.Message);
                }
                Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2 << 20);
            }
    }

    [Fact]
    public async Task A_page_beyond_the_limit_is_refused_with_the_limit()
    {
        await SampleFiles.Parquet(folder["a.parquet"], [new string('a', 5000)]);
        Assert.Contains("the limit that MaxDocumentBytes sets", Refused(folder["a.parquet"], new DocumentFileOptions { MaxDocumentBytes = 2000 }));
        Assert.Single(new DocumentFile(folder["a.parquet"], new DocumentFileOptions { MaxDocumentBytes = 8000 }).Read());
    }
}

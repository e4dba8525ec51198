using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using HybridArchitectures.Tokenization;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class TokenDatasetTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static long[] All(TokenDataset data)
    {
        var all = new long[data.Count];
        data.CopyTo(0, all);
        return all;
    }

    [Fact]
    public void Documents_are_joined_with_the_requested_separators()
    {
        TextDocument[] documents = [new("a", "hi"), new("none", ""), new("b", "ü")];
        using var plain = TokenDataset.FromBytes(documents);
        Assert.Equal([104, 105, 0xc3, 0xbc], All(plain));
        Assert.Equal([0, 2], plain.DocumentStarts);
        static int[] Encode(string text) => [.. text.Select(c => (int)c)];
        using var framed = TokenDataset.FromDocuments(documents, Encode, 302, beginOfText: 300, endOfText: 301, byteCount: id => id < 300 ? 1 : 0);
        Assert.Equal([300, 104, 105, 301, 300, 252, 301], All(framed));
        Assert.Equal([0, 4], framed.DocumentStarts);
        Assert.Equal(3, framed.CountBytes(All(framed)));
        Assert.Equal(1, framed.CountBytes([104, -100, 300]));
    }

    [Fact]
    public void A_tokenizer_gives_ids_separators_and_bytes()
    {
        using var data = TokenDataset.FromDocuments(
            [new("a", "hi"), new("b", "ü")], new ByteTokenizer(beginOfText: true, endOfText: true), beginOfText: true, endOfText: true);
        Assert.Equal(258, data.VocabularySize);
        Assert.Equal([256, 104, 105, 257, 256, 0xc3, 0xbc, 257], All(data));
        Assert.Equal(4, data.CountBytes(All(data)));
        Assert.Equal("beginOfText", Assert.Throws<ArgumentException>(
            () => TokenDataset.FromDocuments([new("a", "hi")], new ByteTokenizer(), beginOfText: true)).ParamName);
    }

    [Theory]
    [InlineData(256)]
    [InlineData(65536)]
    [InlineData(128256)]
    public void A_saved_file_is_read_back_whatever_the_vocabulary(int vocabulary)
    {
        var random = new Random(1);
        var tokens = Enumerable.Range(0, 1001).Select(_ => random.Next(vocabulary)).Append(vocabulary - 1).ToArray();
        using var data = TokenDataset.FromTokens(tokens, vocabulary, [0, 17, 900], id => id % 5);
        data.Save(folder["tokens"]);
        using var mapped = TokenDataset.Open(folder["tokens"]);
        Assert.Equal(tokens.Select(token => (long)token), All(mapped));
        Assert.Equal((vocabulary, 1002, data.Fingerprint), (mapped.VocabularySize, mapped.Count, mapped.Fingerprint));
        Assert.Equal([0, 17, 900], mapped.DocumentStarts);
        Assert.Equal(data.CountBytes(All(data)), mapped.CountBytes(All(mapped)));
    }

    [Fact]
    public void A_fingerprint_distinguishes_data()
    {
        ulong Of(int[] tokens, int vocabulary = 10, long[]? starts = null)
        {
            using var data = TokenDataset.FromTokens(tokens, vocabulary, starts);
            return data.Fingerprint;
        }
        var all = new[] { Of([1, 2, 3]), Of([1, 3, 2]), Of([1, 2, 3, 0]), Of([1, 2, 3], 11), Of([1, 2, 3], starts: [0, 2]) };
        Assert.Equal(5, all.Distinct().Count());
        Assert.Equal(all[0], Of([1, 2, 3]));
    }

    [Fact]
    public void Documents_are_found_from_any_position()
    {
        using var data = TokenDataset.FromTokens(new int[10], 1, [0, 3, 4, 9]);
        long[] expected = [0, 0, 0, 1, 2, 2, 2, 2, 2, 3];
        for (int start = 0; start < 10; start++)
        {
            var owners = new long[10 - start];
            data.CopyDocumentsTo(start, owners);
            Assert.Equal(expected[start..], owners);
        }
    }

    [Fact]
    public void Bad_tokens_starts_and_stretches_are_refused_by_name()
    {
        void Refused(string name, Action action) => Assert.Equal(name, Assert.ThrowsAny<ArgumentException>(action).ParamName);
        Refused("tokens", () => TokenDataset.FromTokens([], 5));
        Refused("tokens", () => TokenDataset.FromTokens([1, 5], 5));
        Refused("tokens", () => TokenDataset.FromTokens([1, -1], 5));
        Refused("vocabularySize", () => TokenDataset.FromTokens([0], 0));
        Refused("documentStarts", () => TokenDataset.FromTokens([0, 1], 5, [1]));
        Refused("documentStarts", () => TokenDataset.FromTokens([0, 1], 5, [0, 2]));
        Refused("documentStarts", () => TokenDataset.FromTokens([0, 1], 5, [0, 0]));
        Refused("tokens", () => TokenDataset.FromBytes([new TextDocument("a", "")]));
        using var data = TokenDataset.FromTokens([0, 1], 5);
        Refused("start", () => data.CopyTo(1, new long[2]));
        Refused("start", () => data.CopyTo(-1, new long[1]));
        Assert.False(data.KnowsBytes);
        Assert.Throws<InvalidOperationException>(() => data.CountBytes([0]));
    }

    [Fact]
    public void A_file_of_another_kind_or_with_foreign_tokens_is_refused()
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["other"], [new("x", ones(2))]);
        Assert.Contains("no token data", Assert.Throws<InvalidDataException>(() => TokenDataset.Open(folder["other"])).Message);
        void Write(Tensor tokens, Tensor starts) =>
            SafetensorsFile.Write(folder["made"], [new("tokens", tokens), new("document_starts", starts)],
                new Dictionary<string, string> { ["vocabulary_size"] = "5" });
        Write(ones(3), zeros(1, int64));
        Assert.Contains("Float32", Assert.Throws<InvalidDataException>(() => TokenDataset.Open(folder["made"])).Message);
        Write(ones(3, int32), ones(1, int64));
        Assert.Contains("document", Assert.Throws<InvalidDataException>(() => TokenDataset.Open(folder["made"])).Message);
        Write(tensor(new[] { 1, 7, 2 }), zeros(1, int64));
        using var data = TokenDataset.Open(folder["made"]);
        Assert.Contains("is 7; expected 0 to", Assert.Throws<InvalidDataException>(() => data.CopyTo(0, new long[3])).Message);
    }

    [Fact]
    public void Data_is_split_where_a_document_begins()
    {
        var tokens = Enumerable.Range(0, 1000).Select(i => i % 7).ToArray();
        using var data = TokenDataset.FromTokens(tokens, 7, [0, 300, 600, 940], _ => 2);
        var (training, heldOut) = data.Split(0.05);
        Assert.Equal((940, 60), (training.Count, heldOut.Count));
        Assert.Equal([0, 300, 600], training.DocumentStarts);
        Assert.Equal([0L], heldOut.DocumentStarts);
        var read = new long[60];
        heldOut.CopyTo(0, read);
        Assert.Equal(tokens[940..].Select(token => (long)token), read);
        Assert.Equal(120, heldOut.CountBytes(read));
        Assert.Throws<ArgumentOutOfRangeException>(() => training.CopyTo(900, new long[41]));
        training.Save(folder["training"]);
        using (var saved = TokenDataset.Open(folder["training"])) Assert.Equal(training.Fingerprint, saved.Fingerprint);
        // a document too long to be left whole is cut
        using var one = TokenDataset.FromTokens(tokens, 7);
        Assert.Equal(50, one.Split(0.05).HeldOut.Count);
        using var few = TokenDataset.FromTokens([1, 2, 3], 7);
        Assert.Throws<InvalidOperationException>(() => few.Split());
    }

    [Theory]
    [InlineData(256)]
    [InlineData(128256)]
    public void A_file_that_is_shortened_while_it_is_open_is_an_error(int vocabulary)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows lets nobody shorten a file that is open");
        using (var data = TokenDataset.FromTokens(new int[100_000], vocabulary)) data.Save(folder["tokens"]);
        using var opened = TokenDataset.Open(folder["tokens"]);
        using (var file = new FileStream(folder["tokens"], FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) file.SetLength(5000);
        Assert.Equal(new long[100], Read(opened, 0, 100));
        Assert.Contains("tokens: the file ends at offset 5000", Assert.Throws<InvalidDataException>(() => Read(opened, 99_000, 1000)).Message);
        Assert.Contains("the file ends", Assert.Throws<InvalidDataException>(() => opened.Save(folder["copy"])).Message);
    }

    static long[] Read(TokenDataset data, long start, int count)
    {
        var tokens = new long[count];
        data.CopyTo(start, tokens);
        return tokens;
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Data_disposed_while_threads_read_it_ends_their_reads_and_not_the_process(bool isFile)
    {
        for (int round = 0; round < 20; round++)
        {
            var data = TokenDataset.FromTokens([.. Enumerable.Range(0, 50_000)], 128256);
            if (isFile)
            {
                data.Save(folder["tokens"]);
                data.Dispose();
                data = TokenDataset.Open(folder["tokens"]);
            }
            using var reading = new CountdownEvent(3);
            var threads = Enumerable.Range(0, 3).Select(seed => Task.Factory.StartNew(() =>
            {
                var random = new Random(seed);
                Read(data, 0, 1);
                reading.Signal();
                while (true)
                {
                    int start = random.Next(40_000);
                    Assert.Equal(Enumerable.Range(start, 1000).Select(i => (long)i), Read(data, start, 1000));
                }
            }, TaskCreationOptions.LongRunning)).ToArray();
            reading.Wait();
            data.Dispose();
            foreach (var thread in threads) Assert.Throws<ObjectDisposedException>(() => thread.GetAwaiter().GetResult());
        }
    }

    [Fact]
    public void Every_member_of_disposed_data_throws()
    {
        TokenDataset Disposed(TokenDataset data)
        {
            data.Dispose();
            return data;
        }
        using (var data = TokenDataset.FromTokens([1, 2, 3], 5, byteCount: _ => 1)) data.Save(folder["tokens"]);
        var whole = TokenDataset.FromTokens([1, 2, 3, 4], 5, byteCount: _ => 1);
        var part = whole.Split(0.5).HeldOut;
        whole.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Read(part, 0, 1));
        foreach (var data in new[] { whole, Disposed(TokenDataset.Open(folder["tokens"])),
            Disposed(TokenDataset.Join(TokenDataset.Open(folder["tokens"]), TokenDataset.Open(folder["tokens"]))) })
            foreach (Action act in new Action[]
            {
                () => Read(data, 0, 1), () =>
                    data.CopyDocumentsTo(0, new long[1]), () => data.CountBytes([1]), () => data.Save(folder["other"]), () => data.Split(0.5),
                () => _ = data.Fingerprint, () => TokenDataset.Join(data), () => new WindowSampler(data, 1).Next(1),
            })
                Assert.Throws<ObjectDisposedException>(act);
        Assert.False(File.Exists(folder["other"]));
        whole.Dispose();        // once more changes nothing
    }
}

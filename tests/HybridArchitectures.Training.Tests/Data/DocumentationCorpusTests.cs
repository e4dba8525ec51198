using System.Text;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Training.Tests.Data;

public sealed class DocumentationCorpusTests : IDisposable
{
    static readonly Lazy<TextCorpus> Found = new(() => DocumentationCorpus.Load());
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static IEnumerable<string> Sentences(IEnumerable<TextDocument> documents) =>
        documents.SelectMany(document => document.Text.Split('\n', StringSplitOptions.RemoveEmptyEntries)).SelectMany(DocumentationCorpus.Sentences);

    static byte[] Bytes(IEnumerable<TextDocument> documents) => Encoding.UTF8.GetBytes(string.Concat(documents.Select(document => document.Text)));

    string Write(string name, string members)
    {
        File.WriteAllText(folder[$"{name}.xml"],
            $"<?xml version=\"1.0\"?><doc><assembly><name>{name}</name></assembly><members>{members}</members></doc>");
        return folder[$"{name}.xml"];
    }

    [Fact]
    public void The_machine_has_megabytes_of_prose_split_by_assembly()
    {
        var corpus = Found.Value;
        Assert.True(corpus.TrainingBytes > 3_000_000, $"{corpus.TrainingBytes}");
        double share = (double)corpus.HeldOutBytes / (corpus.TrainingBytes + corpus.HeldOutBytes);
        Assert.InRange(share, 0.05, 0.10);
        Assert.True(corpus.HeldOut.Count >= 5);
        Assert.Empty(corpus.Training.Select(document => document.Name).Intersect(corpus.HeldOut.Select(document => document.Name)));
        var tags = new[] { "<see ", "<paramref", "</summary>", "cref=\"" };
        Assert.DoesNotContain(corpus.HeldOut.Concat(corpus.Training), document => tags.Any(document.Text.Contains));
    }

    [Fact]
    public void No_sentence_occurs_twice_and_none_leaks_into_training()
    {
        var training = Sentences(Found.Value.Training).ToArray();
        var heldOut = Sentences(Found.Value.HeldOut).ToArray();
        Assert.Equal(training.Length, training.Distinct().Count());
        Assert.Equal(heldOut.Length, heldOut.Distinct().Count());
        Assert.Empty(training.Intersect(heldOut));
    }

    [Fact]
    public void The_same_files_give_the_same_text()
    {
        var again = DocumentationCorpus.Load();
        Assert.Equal(Found.Value.Training, again.Training);
        Assert.Equal(Found.Value.HeldOut, again.HeldOut);
    }

    [Fact]
    public void Byte_models_of_rising_order_find_it_rather_predictable()
    {
        byte[] training = Bytes(Found.Value.Training), heldOut = Bytes(Found.Value.HeldOut);
        double[] bits = [.. Enumerable.Range(0, 3).Select(order => new ByteModel(order, training).BitsPerByte(heldOut))];
        Assert.InRange(bits[0], 4.2, 4.8);      // English letters
        Assert.InRange(bits[2], 2.3, 2.8);
        Assert.True(bits[0] > bits[1] && bits[1] > bits[2]);
    }

    [Fact]
    public void Tags_become_the_words_a_reader_would_say()
    {
        var file = Write("A", """
            <member name="M:X"><summary>Gets the <see cref="P:System.Collections.Generic.List`1.Count" /> of   a
                <see cref="T:System.Collections.Generic.List`1">list</see>, or <see langword="null" /> (see <paramref name="index" />).</summary>
              <param name="a">Calls <see cref="M:System.Text.StringBuilder.#ctor(System.Int32)" />.</param>
              <remarks><para>First &amp; second.</para><para>Third <c>x + y</c>! Fourth?</para><code>var x = 1;.</code></remarks>
              <returns>A <typeparamref name="T" /> of <see cref="M:System.Linq.Enumerable.Where``1(System.Collections.Generic.IEnumerable{``0})" />.</returns>
              <exception cref="T:System.Exception">vmovaps ymm, m256</exception></member>
            <member name="M:Y"><summary /></member><member name="M:Z" />
            """);
        Assert.Equal(
            [
                "Gets the Count of a list, or null (see index).", "Calls StringBuilder.", "First & second.", "Third x + y! Fourth?", "A T of Where.",
            ], DocumentationText.Lines(file));
    }

    [Theory]
    [InlineData("T:System.String", "String")]
    [InlineData("N:System.Linq", "System.Linq")]
    [InlineData("M:A.B.#ctor", "B")]
    [InlineData("M:A.B`2.#ctor(System.Int32)", "B")]
    [InlineData("M:A.B.System#IDisposable#Dispose", "Dispose")]
    [InlineData("T:A.Span{System.Char}", "Span")]
    [InlineData("!:Unknown", "Unknown")]
    [InlineData("System.Math.Max", "Max")]
    [InlineData("", null)]
    [InlineData(null, null)]
    public void References_are_recognized_by_their_short_name(string? reference, string? expected) =>
        Assert.Equal(expected, DocumentationText.ShortName(reference));

    [Fact]
    public void A_sentence_repeated_in_another_file_stays_in_the_held_out_one_only()
    {
        string Member(int i, string extra) =>
            $"<member name='{i}'><summary>Own sentence number {i} of {extra}. The object is null.</summary></member>";
        var files = Enumerable.Range(0, 12)
            .Select(f => Write($"Assembly{f}", string.Concat(Enumerable.Range(0, 10).Select(i => Member(i, $"file {f}"))))).ToArray();
        var corpus = DocumentationCorpus.FromFiles(files, 0.2);
        Assert.Equal(12, corpus.Training.Count + corpus.HeldOut.Count);
        Assert.Single(Sentences(corpus.HeldOut), "The object is null.");
        Assert.DoesNotContain("The object is null.", Sentences(corpus.Training));
        Assert.Equal(120, Sentences(corpus.Training.Concat(corpus.HeldOut)).Count(sentence => sentence.StartsWith("Own")));
    }

    [Fact]
    public void Files_that_are_no_documentation_are_passed_over_and_nothing_at_all_is_refused()
    {
        File.WriteAllText(folder["broken.xml"], "<doc><members><member name='a'><summary>Half.");
        File.WriteAllText(folder["other.xml"], "<project/>");
        var files = new[] { folder["broken.xml"], folder["other.xml"], Write("Only", "<member name='a'><summary>One sentence.</summary></member>") };
        Assert.Contains("too few", Assert.Throws<InvalidDataException>(() => DocumentationCorpus.FromFiles(files)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => DocumentationCorpus.FromFiles(files, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => DocumentationCorpus.Load(double.NaN));
    }
}

using HybridArchitectures.Evaluation.Benchmarks;
using HybridArchitectures.Training.Tests;
using Parquet;
using Parquet.Schema;
using Parquet.Serialization;

namespace HybridArchitectures.Evaluation.Tests;

public sealed class BenchmarkFileTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    ChoiceQuestion Only(ChoiceFormat format, string json, string extension = "jsonl")
    {
        string path = folder[$"file.{extension}"];
        File.WriteAllText(path, json);
        return Assert.Single(format.Read(path));
    }

    static void Is(ChoiceQuestion question, string prompt, string[] continuations, int answer)
    {
        Assert.All(question.Options, option => Assert.Equal(prompt, option.Prompt));
        Assert.Equal(continuations, question.Options.Select(option => option.Continuation));
        Assert.Equal(continuations.Select(text => text[1..]), question.Options.Select(option => option.LengthText));
        Assert.Equal(answer, question.Answer);
    }

    [Fact]
    public void HellaSwag_joins_contexts_and_drops_marks() => Is(
        Only(ChoiceFormats.HellaSwag, """
            [{
              "activity_label": "Cleaning [step] sinks", "ctx_a": "A man", "ctx_b": "he IS here",
              "endings": ["goes [title] on", " waits  now"], "label": "1"
            }]
            """, "json"),
        "Cleaning sinks: A man He is here", [" goes. on", " waits now"], 1);

    [Fact]
    public void Piqa_asks_for_a_goal() => Is(
        Only(ChoiceFormats.Piqa, """[{"goal": "Open a jar", "sol1": "Twist", "sol2": "Wait", "label": 0}]""", "json"),
        "Question: Open a jar\nAnswer:", [" Twist", " Wait"], 0);

    [Theory]
    [InlineData("B", 1)]
    [InlineData("C", 2)]
    public void Arc_finds_its_key_among_the_labels(string key, int answer) => Is(
        Only(ChoiceFormats.ArcEasy, $$"""
            [{"question": "Why?", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "answerKey": "{{key}}"}]
            """, "json"),
        "Question: Why?\nAnswer:", [" x", " y", " z"], answer);

    [Fact]
    public void OpenBookQa_is_its_stem() => Is(
        Only(ChoiceFormats.OpenBookQa, """
            [{"question_stem": "The sun", "choices": {"text": ["sets", "eats"], "label": ["1", "2"]}, "answerKey": " 1"}]
            """, "json"),
        "The sun", [" sets", " eats"], 0);

    [Fact]
    public void WinoGrande_scores_the_rest_after_each_filling()
    {
        var question = Only(ChoiceFormats.WinoGrande, """
            [{"sentence": "The cup fit the box as _ was small.", "option1": "the cup", "option2": "the box", "answer": "1"}]
            """, "json");
        Assert.Equal(["The cup fit the box as the cup", "The cup fit the box as the box"], question.Options.Select(option => option.Prompt));
        Assert.All(question.Options, option => Assert.Equal(" was small.", option.Continuation));
        Assert.Equal(0, question.Answer);
    }

    [Theory]
    [InlineData("\"answer\": true", 1)]
    [InlineData("\"answer\": false", 0)]
    [InlineData("\"label\": 1", 1)]
    public void BoolQ_takes_both_layouts(string answer, int expected) => Is(
        Only(ChoiceFormats.BoolQ, $$"""{"passage": "Snow is cold.", "question": "is snow cold", {{answer}}}"""),
        "Snow is cold.\nQuestion: is snow cold?\nAnswer:", [" no", " yes"], expected);

    [Fact]
    public void SocialIqa_counts_labels_from_one() => Is(
        Only(ChoiceFormats.SocialIqa, """
            [{"context": "A fell.", "question": "What now?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"}]
            """, "json"),
        "Q: A fell. What now?\nA:", [" a", " b", " c"], 2);

    [Fact]
    public void Lambada_predicts_the_last_word()
    {
        File.WriteAllText(folder["l.jsonl"], "{\"text\": \"He went to the shop\"}\n\n");
        Assert.Equal(new CompletionItem("He went to the", " shop"), Assert.Single(CompletionItem.ReadLambada(folder["l.jsonl"])));
    }

    sealed class ArcRow
    {
        public string? question { get; set; }

        public ArcChoices? choices { get; set; }

        public string? answerKey { get; set; }
    }

    sealed class ArcChoices
    {
        public List<string>? text { get; set; }

        public List<string>? label { get; set; }
    }

    sealed class PiqaRow
    {
        public string? goal { get; set; }

        public string? sol1 { get; set; }

        public string? sol2 { get; set; }

        public long label { get; set; }
    }

    [Fact]
    public async Task Parquet_files_with_lists_and_records_read_as_json()
    {
        await ParquetSerializer.SerializeAsync([new ArcRow { question = "Why?", choices = new() { text = ["x", "y"], label = ["A", "B"] },
            answerKey = "B" }], folder["arc.parquet"]);
        Is(Assert.Single(ChoiceFormats.ArcChallenge.Read(folder["arc.parquet"])), "Question: Why?\nAnswer:", [" x", " y"], 1);
        await ParquetSerializer.SerializeAsync([new PiqaRow { goal = "g", sol1 = "a", sol2 = "b", label = 1 }], folder["piqa.parquet"]);
        Is(Assert.Single(ChoiceFormats.Piqa.Read(folder["piqa.parquet"])), "Question: g\nAnswer:", [" a", " b"], 1);
    }

    [Theory]
    [InlineData("{\"prompt\": \"p\"}", "'choices' is absent; expected a value. The record has prompt.")]
    [InlineData("{\"prompt\": \"p\", \"choices\": [\"a\", \"b\"], \"answer\": 2}", "'answer' is \"2\"; expected 0 to 1.")]
    [InlineData("{\"prompt\": \"p\", \"choices\": \"a\", \"answer\": 0}", "'choices' is \"a\"; expected a list of texts.")]
    [InlineData("{\"prompt\": ", "line 1: ")]
    [InlineData("{\"prompt\": \"\\ud800\"}", "line 1: ")]
    [InlineData("[1]", "expected an object.")]
    public void Damage_is_named_with_its_position(string json, string expected)
    {
        File.WriteAllText(folder["bad.jsonl"], json);
        var error = Assert.Throws<InvalidDataException>(() => ChoiceFormats.Generic.Read(folder["bad.jsonl"]));
        Assert.Contains(expected, error.Message);
        Assert.Contains("bad.jsonl: line 1", error.Message);
    }

    [Fact]
    public void Other_files_are_refused()
    {
        Assert.Throws<FileNotFoundException>(() => BenchmarkFile.Read(folder["none.jsonl"]));
        using (var large = File.Create(folder["a.json"])) large.SetLength(300 << 20);
        Assert.Contains("bytes; expected at most", Assert.Throws<InvalidDataException>(() => BenchmarkFile.Read(folder["a.json"])).Message);
        File.WriteAllText(folder["a.csv"], "x");
        Assert.Contains("the extension is '.CSV'", Assert.Throws<InvalidDataException>(() => BenchmarkFile.Read(folder["a.csv"])).Message);
        File.WriteAllText(folder["a.parquet"], "no parquet");
        Assert.Contains("a.parquet: the file cannot be read as parquet",
            Assert.Throws<InvalidDataException>(() => BenchmarkFile.Read(folder["a.parquet"])).Message);
    }

    [Fact]
    public void A_named_pipe_is_refused_before_it_is_opened()
    {
        if (OperatingSystem.IsWindows()) return;
        using (var process = System.Diagnostics.Process.Start("mkfifo", [folder["pipe.jsonl"]])) process.WaitForExit();
        Assert.Contains("this is a named pipe", Assert.Throws<InvalidDataException>(() => BenchmarkFile.Read(folder["pipe.jsonl"])).Message);
    }
}

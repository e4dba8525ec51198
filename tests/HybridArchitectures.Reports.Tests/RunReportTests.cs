using System.Text.Json;
using System.Text.RegularExpressions;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Modules;
using HybridArchitectures.Reports.Page;
using SkiaSharp;

namespace HybridArchitectures.Reports.Tests;

public partial class RunReportTests
{
    public RunReportTests() => MixerSpec.Register<ExampleDesigns.LinearAttentionSpec>("linearAttention");

    static RunReport Report => ExampleRuns.Report;

    [Fact]
    public void A_written_report_is_the_page_the_numbers_and_the_pictures()
    {
        using var folder = new TemporaryFolder();
        var target = Path.Combine(folder.Path, "new", "report");
        Report.Write(target);
        string[] expected =
        [
            "design-hybrid-1-5.png", "design-hybrid-1-5.svg", "design-mamba-2.png", "design-mamba-2.svg", "design-transformer.png",
            "design-transformer.svg",
            "index.html", "loss.png", "report.json",
        ];
        Assert.Equal(expected, Directory.GetFileSystemEntries(target).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        foreach (var image in expected.Where(name => name.EndsWith(".png", StringComparison.Ordinal)))
        {
            using var decoded = SKBitmap.Decode(Path.Combine(target, image));
            Assert.True(decoded.Width > 200, image);
        }
        Assert.Equal(Report.ToHtml(), File.ReadAllText(Path.Combine(target, "index.html")));
        Assert.Equal(Report.ToJson(), File.ReadAllText(Path.Combine(target, "report.json")));
    }

    [Fact]
    public void A_second_report_replaces_the_first_and_leaves_files_of_others()
    {
        using var folder = new TemporaryFolder();
        Report.Write(folder.Path);
        File.WriteAllText(Path.Combine(folder.Path, "notes.txt"), "mine");
        (Report with { Title = "Second" }).Write(folder.Path);
        Assert.Contains("<h1>Second</h1>", File.ReadAllText(Path.Combine(folder.Path, "index.html")));
        Assert.Equal("mine", File.ReadAllText(Path.Combine(folder.Path, "notes.txt")));
        Assert.DoesNotContain(Directory.GetFileSystemEntries(folder.Path), name => name.EndsWith(".new", StringComparison.Ordinal));
    }

    [Fact]
    public void A_report_that_cannot_be_written_touches_nothing()
    {
        using var folder = new TemporaryFolder();
        Report.Write(folder.Path);
        var before = Directory.GetFiles(folder.Path).ToDictionary(file => file, File.ReadAllBytes);
        var broken = Report with { Title = "Broken",
            Runs = [.. Report.Runs, Report.Runs[0] with { Name = "x", Design = Report.Runs[0].Design with { VocabularySize = 0 } }] };
        Assert.ThrowsAny<ArgumentException>(() => broken.Write(folder.Path));
        Assert.Equal(before.Keys.Order(), Directory.GetFiles(folder.Path).Order());
        Assert.All(before, file => Assert.Equal(file.Value, File.ReadAllBytes(file.Key)));
    }

    sealed record UnregisteredSpec : CustomMixerSpec
    {
        public override string Symbol => "U";

        public override long CountParameters(int width) => width;

        public override long CountCacheBytes(int width, long length, int elementSize) => 0;

        public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => 0;

        public override double CountSavedActivations(int width, TrainingStepShape step) => 0;

        public override HybridArchitectures.Modules.Mixer CreateMixer(HybridArchitectures.Modules.ModuleFactory factory) =>
            throw new NotSupportedException("for pages only");
    }

    [Fact]
    public void A_mixer_that_is_not_registered_costs_the_JSON_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        Report.Write(folder.Path);
        var design = new HybridDesign { Name = "own", Width = 8, VocabularySize = 16,
            Blocks = [new BlockSpec { Mixer = new UnregisteredSpec() }] }.Resolve();
        var report = Report with { Runs = [.. Report.Runs, Report.Runs[0] with { Name = "own", Design = design }] };
        report.Write(folder.Path);
        var page = File.ReadAllText(Path.Combine(folder.Path, "index.html"));
        Assert.Contains("not written as JSON. run own: ", page);
        Assert.Contains("MixerSpec.Register&lt;UnregisteredSpec&gt;", page);
        Assert.DoesNotContain("href=\"report.json\"", page);
        Assert.False(File.Exists(Path.Combine(folder.Path, "report.json")));
        Assert.True(File.Exists(Path.Combine(folder.Path, "design-own.png")));
        Assert.Contains("MixerSpec.Register<UnregisteredSpec>", Assert.Throws<ArgumentException>(report.ToJson).Message);
    }

    [Fact]
    public void A_report_round_trips_through_JSON()
    {
        var diverged = Report.Runs[0] with { Name = "diverged",
            Points = [new(1, 8192, 0.5, double.NaN), new(2, 16384, 1, double.PositiveInfinity, 7.5)], HeldOutLoss = null };
        var report = Report with { Runs = [.. Report.Runs, diverged] };
        var again = RunReport.FromJson(report.ToJson());
        Assert.Equal(report.ToJson(), again.ToJson());
        Assert.Equal(report.Runs[1].Design, again.Runs[1].Design);
        Assert.Equal(report.Runs[1].Points, again.Runs[1].Points);
        Assert.Equal(report.ToHtml(), again.ToHtml());
    }

    [Fact]
    public void The_JSON_holds_the_derived_numbers_too()
    {
        using var json = JsonDocument.Parse(Report.ToJson());
        foreach (var (run, written) in Report.Runs.Zip(json.RootElement.GetProperty("runs").EnumerateArray()))
        {
            Assert.Equal(run.Design.CountParameters().Total, written.GetProperty("parameters").GetProperty("total").GetInt64());
            Assert.Equal(400 * 8192, written.GetProperty("tokens").GetInt64());
            Assert.Equal(8192 / 0.21, written.GetProperty("meanTokensPerSecond").GetDouble(), 1e-6);
            Assert.Equal(run.Points[^1].HeldOutLoss, written.GetProperty("finalHeldOutLoss").GetDouble());
        }
    }

    [Theory]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("{\"title\": \"x\"")]
    [InlineData("{\"title\": \"x\", \"runs\": [], \"unknown\": 1}")]
    [InlineData("{\"title\": \"x\", \"runs\": [null]}")]
    [InlineData("{\"title\": \"\", \"runs\": []}")]
    public void JSON_that_is_no_report_is_refused(string json) => Assert.ThrowsAny<ArgumentException>(() => RunReport.FromJson(json));

    [Fact]
    public void The_page_needs_nothing_outside_itself()
    {
        var html = Report.ToHtml();
        Assert.All(References().Matches(html).Select(match => match.Groups[1].Value), target => Assert.DoesNotContain("//", target));
        Assert.DoesNotContain("@import", html);
        Assert.DoesNotMatch("<(link|img|iframe|object|embed)\\b", html);
        Assert.All(Urls().Matches(html).Select(match => match.Groups[1].Value), target => Assert.StartsWith("#", target));
        // the name space of SVG is a name, nothing is loaded from there
        Assert.DoesNotContain("http", html.Replace("http://www.w3.org/2000/svg", "").Replace("http-equiv", ""));
        Assert.Contains("default-src 'none'", html);
    }

    [Fact]
    public void What_users_and_models_wrote_is_text_and_never_markup()
    {
        const string attack = "</script></pre><script>alert(1)</script>\" onload='x'";
        var run = Report.Runs[0] with { Name = attack, Samples = [new(attack, attack, attack)], Facts = [new(attack, attack)] };
        var html = new RunReport { Title = attack, Description = attack, Unit = attack, Runs = [run], Baselines = [new(attack, 3)],
            Facts = [new(attack, attack)] }.ToHtml();
        Assert.DoesNotContain("<script>alert", html);
        Assert.DoesNotContain("</pre><", html.Replace("</pre></div>", ""));
        Assert.DoesNotContain("' onload", html);
        // the page's own: one of code, one of data for each axis
        Assert.Equal(4, Regex.Count(html, "<script"));
        Assert.Equal(4, Regex.Count(html, "</script"));
    }

    [Fact]
    public void Half_characters_a_model_wrote_become_replacement_characters()
    {
        var report = Report with { Runs = [Report.Runs[0] with { Samples = [new("a\uD800b", "c\uDC00\u0000d")] }] };
        Assert.Contains("<b>a\uFFFDb</b>c\uFFFD\uFFFDd", report.ToHtml());
        Assert.Equal("a\uFFFDb", RunReport.FromJson(report.ToJson()).Runs[0].Samples[0].Prompt);
    }

    [Fact]
    public void The_page_says_the_numbers()
    {
        var html = Report.ToHtml();
        foreach (var run in Report.Runs)
        {
            Assert.Contains(run.Design.CountParameters().Total.ToString("N0"), html);
            Assert.Contains(run.Points[^1].HeldOutLoss!.Value.ToString("0.000"), html);
        }
        Assert.Contains("4.460", html);
        Assert.Contains("39,010", html);   // 8192 tokens each 0.21 s
        Assert.Contains("1 min 24 s", html);
        Assert.Single(Regex.Matches(html, "class=\"best\">([0-9.]+)<"),
            match => match.Groups[1].Value == Report.Runs[0].Points[^1].HeldOutLoss!.Value.ToString("0.000"));
    }

    [Fact]
    public void Every_design_is_drawn_in_the_page_with_separate_ids()
    {
        var html = Report.ToHtml();
        Assert.Equal(Report.Runs.Sum(run => run.Design.Depth), Regex.Count(html, "<g class=\"layer\">"));
        var ids = Regex.Matches(html, " id=\"([^\"]+)\"").Select(match => match.Groups[1].Value).ToArray();
        Assert.Equal(ids.Length, ids.Distinct().Count());
        Assert.All(Urls().Matches(html).Select(match => match.Groups[1].Value[1..]), target => Assert.Contains(target, ids));
    }

    [Fact]
    public void The_chart_carries_the_numbers_a_pointer_reads()
    {
        var html = Report.ToHtml();
        foreach (var (axis, end) in (IEnumerable<(string, double)>)[("tokens", 400 * 8192), ("steps", 400), ("seconds", 84)])
        {
            var data = Regex.Match(html, $"id=\"loss-{axis}-data\">(.*?)</script>", RegexOptions.Singleline).Groups[1].Value;
            using var json = JsonDocument.Parse(data);
            Assert.Equal(end, json.RootElement.GetProperty("window")[0].GetDouble(), 1e-6 * end);
            Assert.Equal(Report.Runs.Select(run => run.Name),
                json.RootElement.GetProperty("runs").EnumerateArray().Select(run => run.GetProperty("name").GetString()));
        }
    }

    [Fact]
    public void A_long_run_does_not_make_a_long_page()
    {
        var curve = ExampleRuns.Curve("long", 2, steps: 200_000);
        var report = new RunReport { Title = "Long", Runs = [Report.Runs[0] with { Points = curve.Points }] };
        Assert.InRange(report.ToHtml().Length, 50_000, 400_000);
    }

    [Fact]
    public void Runs_without_points_samples_or_baselines_make_a_page()
    {
        var html = new RunReport { Title = "Designs", Runs = [new() { Name = "a", Design = ExampleDesigns.Mamba }] }.ToHtml();
        Assert.Contains("Mamba-2", html);
        Assert.DoesNotContain("NaN", html);
        Assert.NotNull(new RunReport { Title = "Nothing", Runs = [] }.ToHtml());
    }

    [Fact]
    public void Names_become_file_names_each_but_once()
    {
        string[] names = ["Hybrid 1:5", "hybrid (1/5)", "../../etc/passwd", "…", new('x', 300)];
        var report = new RunReport { Title = "x", Runs = [.. names.Select(name => new RunSummary { Name = name, Design = ExampleDesigns.Mamba })] };
        Assert.Equal(["hybrid-1-5", "hybrid-1-5-2", "etc-passwd", "run", new('x', 60)], report.FileNames());
    }

    [Fact]
    public void Reports_that_cannot_be_are_refused_with_the_reason()
    {
        Assert.Contains("2 runs are called Hybrid 1:5",
            Assert.Throws<ArgumentException>(() => (Report with { Runs = [Report.Runs[0], Report.Runs[0]] }).ToHtml()).Message);
        Assert.Contains("expected a title", Assert.Throws<ArgumentException>(() => (Report with { Title = " " }).ToJson()).Message);
        Assert.Contains("Samples of run",
            Assert.Throws<ArgumentException>(() => (Report with { Runs = [Report.Runs[0] with { Samples = [null!] }] }).ToHtml()).Message);
        using var folder = new TemporaryFolder();
        var file = Path.Combine(folder.Path, "file");
        File.WriteAllText(file, "mine");
        Assert.Contains("is a file", Assert.Throws<ArgumentException>(() => Report.Write(file)).Message);
    }

    [GeneratedRegex("(?:src|href)\\s*=\\s*[\"']([^\"']*)")]
    private static partial Regex References();

    [GeneratedRegex("url\\(([^)]*)\\)")]
    private static partial Regex Urls();
}

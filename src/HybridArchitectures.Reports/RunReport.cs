using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Reports.Page;

namespace HybridArchitectures.Reports;

/// <summary>Training runs side by side: what they were, how they learned, what they reached. Written as a folder of one HTML page, images and JSON.</summary>
public sealed record RunReport
{
    const string JsonFile = "report.json";

    static readonly JsonTypeInfo<RunReport> Json = (JsonTypeInfo<RunReport>)new JsonSerializerOptions
    {
        TypeInfoResolver = ReportJsonContext.Default.WithAddedModifier(InitOnlyDefaults.Keep),
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = false,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        // a run that diverged has losses that are no numbers
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    }.GetTypeInfo(typeof(RunReport));

    /// <summary>Heading of the report.</summary>
    public required string Title { get; init; }

    /// <summary>A few sentences below the heading; may be empty.</summary>
    public string Description { get; init; } = "";

    /// <summary>When it was made; null: not said.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>The unit of every loss in the report.</summary>
    public string Unit { get; init; } = "bits per byte";

    /// <summary>The runs, in the order of tables and legends.</summary>
    public required IReadOnlyList<RunSummary> Runs { get; init; }

    /// <summary>Held-out losses to compare with.</summary>
    public IReadOnlyList<Baseline> Baselines { get; init; } = [];

    /// <summary>What is the same for all runs: machine, data, program.</summary>
    public IReadOnlyList<ReportFact> Facts { get; init; } = [];

    /// <summary>The report as one HTML page that needs nothing outside itself.</summary>
    /// <exception cref="ArgumentException">Something in the report is null, doubled or cannot be; the message says what.</exception>
    public string ToHtml()
    {
        Check();
        return HtmlPage.Write(this);
    }

    /// <summary>The report as indented JSON. Losses that are not finite are written as <c>"NaN"</c> or <c>"Infinity"</c>.</summary>
    /// <exception cref="ArgumentException">As <see cref="ToHtml"/>, or a design holds a mixer that is not registered.</exception>
    public string ToJson()
    {
        Check();
        return JsonSerializer.Serialize(this, Json) + "\n";
    }

    /// <summary>Reads what <see cref="ToJson"/> writes.</summary>
    /// <exception cref="ArgumentException">Not such JSON; the message says where and why.</exception>
    public static RunReport FromJson(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            var report = JsonSerializer.Deserialize(json, Json) ?? throw new ArgumentException("the JSON is null; expected a report", nameof(json));
            report.Check();
            return report;
        }
        catch (Exception error) when (error is JsonException or NotSupportedException or InvalidOperationException)
        {
            throw new ArgumentException($"json is not a report: {error.Message}", nameof(json), error);
        }
    }

    /// <summary>
    /// Writes <c>index.html</c>, <c>report.json</c>, <c>loss.png</c> and for each run <c>design-NAME.svg</c> and <c>design-NAME.png</c>. Everything is
    /// drawn before the first file is touched, each file appears whole or not at all, the page last. Other files in the folder stay.
    /// <para>
    /// If a design cannot be written as JSON, since it holds a mixer that is not registered, <c>report.json</c> is left out (an older one is deleted)
    /// and the page says why.
    /// </para>
    /// </summary>
    /// <param name="folder">Where to; made if it does not exist.</param>
    /// <exception cref="ArgumentException">As <see cref="ToHtml"/>, or the folder is a file.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void Write(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (File.Exists(folder)) throw new ArgumentException($"'{folder}' is a file; expected a folder", nameof(folder));
        Check();

        var files = new List<(string Name, byte[] Content)> { ("loss.png", LossPlot.Png(Curves(), Baselines, new() { Title = Title, Unit = Unit })) };
        bool hasJson = WhyNoJson() is null;
        if (hasJson) files.Add((JsonFile, Utf8(ToJson())));
        foreach (var (run, name) in Runs.Zip(FileNames()))
        {
            files.Add(($"design-{name}.svg", Utf8(DesignStrip.Svg(run.Design))));
            files.Add(($"design-{name}.png", DesignStrip.Png(run.Design)));
        }
        files.Add(("index.html", Utf8(ToHtml())));

        Directory.CreateDirectory(folder);
        // one of an earlier report would say something else
        if (!hasJson) File.Delete(Path.Combine(folder, JsonFile));
        foreach (var (name, content) in files) AtomicWrite.File(Path.Combine(folder, name), temporary => File.WriteAllBytes(temporary, content));
    }

    /// <summary>Why the report cannot be written as JSON; null if it can.</summary>
    internal string? WhyNoJson()
    {
        foreach (var run in Runs)
        {
            try
            {
                run.Design.ToJson();
            }
            catch (ArgumentException error)
            {
                return $"run {run.Name}: {error.Message}";
            }
        }
        return null;
    }

    internal IReadOnlyList<LossCurve> Curves() => [.. Runs.Select(run => new LossCurve(run.Name, run.Points) { HeldOutLoss = run.HeldOutLoss })];

    /// <summary>The runs' names with what file systems and shells dislike replaced by hyphens, each but once.</summary>
    internal IReadOnlyList<string> FileNames()
    {
        var taken = new HashSet<string>();
        return [.. Runs.Select(run =>
        {
            var letters = string.Concat(run.Name.ToLowerInvariant().Select(letter => char.IsAsciiLetterOrDigit(letter) ? letter : '-'));
            var plain = string.Join('-', letters.Split('-', StringSplitOptions.RemoveEmptyEntries));
            if (plain.Length > 60) plain = plain[..60];
            var name = plain = plain.Length > 0 ? plain : "run";
            for (int i = 2; !taken.Add(name); i++) name = $"{plain}-{i}";
            return name;
        })];
    }

    static byte[] Utf8(string text) => System.Text.Encoding.UTF8.GetBytes(text);

    void Check()
    {
        if (string.IsNullOrWhiteSpace(Title)) throw new ArgumentException("the report has no title", nameof(Title));
        if (Runs is null || Baselines is null || Facts is null || Unit is null || Description is null)
            throw new ArgumentException("runs, baselines, facts, unit and description of a report may be empty, not null");
        foreach (var run in Runs) (run ?? throw new ArgumentException("a run of the report is null", nameof(Runs))).Check();
        if (Runs.GroupBy(run => run.Name).FirstOrDefault(group => group.Count() > 1) is { } doubled)
            throw new ArgumentException($"{doubled.Count()} runs are called {doubled.Key}; expected names of their own", nameof(Runs));
        Checks.Baselines(Baselines);
        Checks.Facts("the report", Facts);
    }
}

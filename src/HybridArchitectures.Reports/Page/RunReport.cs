using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using HybridArchitectures.Design;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Reports.Page;

/// <summary>
/// Represents a report that compares training runs: designs, loss curves and results. It is written as a folder with one HTML page, images and JSON.
/// </summary>
/// <example>
/// <code>
/// HybridDesign design = HybridDesign.Create(256, 256).WithAttention(8).WithMamba2().Depth(12).Ratio(attention: 1, ssm: 5).Build();
/// var run = new RunSummary
/// {
///     Name = "hybrid",
///     Design = design,
///     Points = [new(Step: 1, Tokens: 8192, Seconds: 0.4, TrainingLoss: 7.9), new(Step: 2, Tokens: 16384, Seconds: 0.8, TrainingLoss: 6.1)],
///     HeldOutLoss = 6.2,
/// };
/// new RunReport { Title = "First run", Runs = [run], Baselines = [new("order-2 bytes", 2.49)] }.Write("example-report");
/// </code>
/// </example>
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
        // a run that diverged has losses that are not finite
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    }.GetTypeInfo(typeof(RunReport));

    /// <summary>Gets or sets the heading.</summary>
    public required string Title { get; init; }

    /// <summary>Gets or sets a few sentences below the heading. The default is empty.</summary>
    public string Description { get; init; } = "";

    /// <summary>Gets or sets the time at which the report was created. The default, null, omits it.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>Gets or sets the unit of every loss in the report. The default is "bits per byte".</summary>
    public string Unit { get; init; } = "bits per byte";

    /// <summary>Gets or sets the runs, in the order of tables and legends.</summary>
    public required IReadOnlyList<RunSummary> Runs { get; init; }

    /// <summary>Gets or sets the held-out losses to compare with. The default is empty.</summary>
    public IReadOnlyList<Baseline> Baselines { get; init; } = [];

    /// <summary>Gets or sets the facts that are the same for all runs: machine, data, program. The default is empty.</summary>
    public IReadOnlyList<ReportFact> Facts { get; init; } = [];

    /// <summary>Returns the report as one HTML page without external files.</summary>
    /// <exception cref="ArgumentException">A value is null, duplicate or invalid. The message names it.</exception>
    public string ToHtml()
    {
        Check();
        return HtmlPage.Write(this);
    }

    /// <summary>Returns the report as indented JSON. Losses that are not finite are written as <c>"NaN"</c> or <c>"Infinity"</c>.</summary>
    /// <exception cref="ArgumentException">As for <see cref="ToHtml"/>, or a design contains a mixer that is not registered.</exception>
    public string ToJson()
    {
        Check();
        return JsonSerializer.Serialize(this, Json) + "\n";
    }

    /// <summary>Reads a report from JSON as <see cref="ToJson"/> writes it.</summary>
    /// <param name="json">The JSON.</param>
    /// <exception cref="ArgumentException">The JSON is not a report. The message contains the position and the reason.</exception>
    public static RunReport FromJson(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            var report = JsonSerializer.Deserialize(json, Json) ?? throw Require.Unfit(nameof(json), "the JSON is null", "a report");
            report.Check();
            return report;
        }
        catch (Exception error) when (error is JsonException or NotSupportedException or InvalidOperationException)
        {
            throw Require.Because(nameof(json), "json cannot be read", error, "a report");
        }
    }

    /// <summary>
    /// Writes <c>index.html</c>, <c>report.json</c>, <c>loss.png</c>, and for each run <c>design-NAME.svg</c> and <c>design-NAME.png</c>. Everything
    /// is drawn before the first file is written. Each file is replaced atomically, the page last. Other files in the folder are not changed.
    /// <para>
    /// If a design cannot be written as JSON, because it contains a mixer that is not registered, <c>report.json</c> is omitted (an existing one is
    /// deleted), and the page contains the reason.
    /// </para>
    /// </summary>
    /// <param name="folder">The folder. It is created if it does not exist.</param>
    /// <exception cref="ArgumentException">As for <see cref="ToHtml"/>, or the folder is a file.</exception>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void Write(string folder)
    {
        Require.NotEmpty(folder);
        if (File.Exists(folder)) throw Require.Unfit(nameof(folder), $"'{folder}' is a file", "a folder");
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
        // the file of an earlier report would contradict this one
        if (!hasJson) File.Delete(Path.Combine(folder, JsonFile));
        foreach (var (name, content) in files) AtomicWrite.File(Path.Combine(folder, name), temporary => File.WriteAllBytes(temporary, content));
    }

    /// <summary>Returns why the report cannot be written as JSON, or null if it can.</summary>
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

    /// <summary>
    /// Returns the names of the runs as unique file names: characters that file systems and shells do not allow are replaced by hyphens.
    /// </summary>
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
        if (string.IsNullOrWhiteSpace(Title)) throw Require.Refusal(nameof(Title), Title, "a title");
        if (Runs is null || Baselines is null || Facts is null || Unit is null || Description is null)
            throw Require.Unfit(null, "one of Runs, Baselines, Facts, Unit and Description is null", "a value, which may be empty");
        foreach (var run in Runs) (run ?? throw Require.Unfit(nameof(Runs), "Runs holds null", "runs")).Check();
        if (Runs.GroupBy(run => run.Name).FirstOrDefault(group => group.Count() > 1) is { } doubled)
            throw Require.Unfit(nameof(Runs), $"{doubled.Count()} runs are called {doubled.Key}", "unique names");
        ReportChecks.Baselines(Baselines);
        ReportChecks.Facts("the report", Facts);
    }
}

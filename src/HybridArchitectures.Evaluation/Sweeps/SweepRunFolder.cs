using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using HybridArchitectures.Design;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>
/// Represents the folder of a run: <c>run.json</c> (settings), <c>training.json</c> (written when training is complete), <c>tasks/NAME.json</c> (one
/// per task), and <c>training/</c> with the trainer's checkpoints.
/// </summary>
sealed class SweepRunFolder(string path)
{
    const string RunsName = "runs", SettingsName = "run.json", TrainingName = "training.json", LockName = ".lock";

    public string Path => path;

    public string CheckpointsFolder => System.IO.Path.Combine(path, "training");

    string TasksFolder => System.IO.Path.Combine(path, "tasks");

    string SettingsFile => System.IO.Path.Combine(path, SettingsName);

    string TrainingFile => System.IO.Path.Combine(path, TrainingName);

    string TaskFile(string task) => System.IO.Path.Combine(TasksFolder, $"{Slug(task)}-{Mark(task)}.json");

    public bool HasSettings => File.Exists(SettingsFile);

    public bool HasTraining => File.Exists(TrainingFile);

    /// <summary>Returns whether there is a result of the task with its present settings, or one whose settings are unknown.</summary>
    public bool HasTask(EvaluationTask task)
    {
        string file = TaskFile(task.Name);
        if (!File.Exists(file)) return false;
        return task.Settings is not { } current || SweepJson.Read(file, SweepJson.Default.TaskResult).Settings is not { } stored || stored == current;
    }

    /// <summary>
    /// Returns the folder of a run. Its name contains the design, the seed and a hash of everything that affects the result. If there is none,
    /// returns the folder that an earlier version of the library made for the same run, whose design or training options lack settings that did not
    /// exist yet or whose training options differ in some that have no effect. A trained one is preferred.
    /// </summary>
    /// <param name="sweep">The folder of the sweep.</param>
    /// <param name="name">The name of the design.</param>
    /// <param name="seed">The seed.</param>
    /// <param name="design">The design.</param>
    /// <param name="training">The training options.</param>
    /// <param name="identity">Returns the text to hash for a design as JSON and training options as text.</param>
    public static SweepRunFolder For(
        string sweep, string name, long seed, HybridDesign design, TrainingOptions training, Func<string, string, string> identity)
    {
        string runs = System.IO.Path.Combine(sweep, RunsName), json = design.ToJson();
        string NameOf(string design, string options) =>
            string.Create(CultureInfo.InvariantCulture, $"{Slug(name)}-{Mark(identity(design, options))}-seed-{seed}");
        var folder = new SweepRunFolder(System.IO.Path.Combine(runs, NameOf(json, TrainingText.Of(training))));
        if (folder.HasSettings || !Directory.Exists(runs)) return folder;
        var candidates = Directory.GetDirectories(runs, string.Create(CultureInfo.InvariantCulture, $"{Slug(name)}-????????-seed-{seed}"))
            .Order(StringComparer.Ordinal).Select(path => new SweepRunFolder(path));
        return candidates.Where(candidate => candidate.Texts is var (text, options)
            && System.IO.Path.GetFileName(candidate.Path) == NameOf(text, options) && IsSame(text, json)
            && TrainingText.IsSame(options, training)).MaxBy(candidate => candidate.HasTraining) ?? folder;
    }

    static bool IsSame(string earlier, string current)
    {
        try
        {
            return HybridDesign.FromJson(earlier).ToJson() == current;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    // the design and the training options as they were written, or null if the file does not hold them
    (string Design, string Options)? Texts
    {
        get
        {
            if (!HasSettings) return null;
            try
            {
                using var document = JsonDocument.Parse(BoundedFile.ReadText(SettingsFile, BoundedFile.MaxTextBytes));
                return document.RootElement is { ValueKind: JsonValueKind.Object } root && root.TryGetProperty("design", out var design)
                    && root.TryGetProperty("options", out var options) && options.GetString() is { } text ? (DesignJson.Write(design), text) : null;
            }
            catch (Exception error) when (error is JsonException or InvalidOperationException or InvalidDataException)
            {
                return null;
            }
        }
    }

    /// <summary>Returns all runs with settings in the folder of a sweep.</summary>
    public static IReadOnlyList<SweepRunFolder> All(string sweep)
    {
        string runs = System.IO.Path.Combine(sweep, RunsName);
        if (!Directory.Exists(runs)) return [];
        return [.. Directory.GetDirectories(runs).Where(run => !System.IO.Path.GetFileName(run).StartsWith('.')).Order(StringComparer.Ordinal)
            .Select(run => new SweepRunFolder(run)).Where(run => run.HasSettings)];
    }

    public void Write(SweepRunSettings settings)
    {
        Directory.CreateDirectory(TasksFolder);
        SweepJson.Write(SettingsFile, settings, SweepJson.Default.SweepRunSettings);
    }

    public void Write(SweepTraining training) => SweepJson.Write(TrainingFile, training, SweepJson.Default.SweepTraining);

    public void Write(TaskResult result)
    {
        Directory.CreateDirectory(TasksFolder);
        SweepJson.Write(TaskFile(result.Task), result, SweepJson.Default.TaskResult);
    }

    public SweepRunSettings ReadSettings() => SweepJson.Read(SettingsFile, SweepJson.Default.SweepRunSettings);

    public SweepTraining ReadTraining() => SweepJson.Read(TrainingFile, SweepJson.Default.SweepTraining);

    public SweepRun Read() => new(path, ReadSettings(), HasTraining ? ReadTraining() : null,
        [.. TaskFiles().Select(file => SweepJson.Read(file, SweepJson.Default.TaskResult))]);

    IEnumerable<string> TaskFiles() => !Directory.Exists(TasksFolder) ? []
        : Directory.GetFiles(TasksFolder, "*.json").Where(file => !System.IO.Path.GetFileName(file).StartsWith('.')).Order(StringComparer.Ordinal);

    /// <summary>Locks the run until the result is disposed or the process ends. Returns null if another process has the lock.</summary>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    public IDisposable? TryLock()
    {
        Directory.CreateDirectory(path);
        return PathLock.Try(System.IO.Path.Combine(path, LockName), out _);
    }

    public void DeleteCheckpoints() => AtomicWrite.TryDelete(CheckpointsFolder);

    /// <summary>Copies files of this run that another folder of the same run lacks.</summary>
    public void CopyTo(SweepRunFolder target)
    {
        if (!target.HasSettings) target.Write(ReadSettings());
        bool isNews = HasTraining && !target.HasTraining;
        if (isNews && Directory.Exists(CheckpointsFolder)) AtomicWrite.Folder(target.CheckpointsFolder, fresh =>
            CopyFolder(CheckpointsFolder, fresh));
        foreach (string file in TaskFiles())
        {
            string name = System.IO.Path.Combine(target.TasksFolder, System.IO.Path.GetFileName(file));
            Directory.CreateDirectory(target.TasksFolder);
            if (!File.Exists(name)) AtomicWrite.File(name, temporary => File.Copy(file, temporary));
        }
        // last, since it says that the model is there
        if (isNews) target.Write(ReadTraining());
    }

    static void CopyFolder(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(from))
            if (!System.IO.Path.GetFileName(file).StartsWith('.')) File.Copy(file, System.IO.Path.Combine(to, System.IO.Path.GetFileName(file)));
        foreach (string folder in Directory.GetDirectories(from))
            if (!System.IO.Path.GetFileName(folder).StartsWith('.')) CopyFolder(folder,
                System.IO.Path.Combine(to, System.IO.Path.GetFileName(folder)));
    }

    static string Slug(string text)
    {
        var letters = string.Concat(text.ToLowerInvariant().Select(letter => char.IsAsciiLetterOrDigit(letter) ? letter : '-'));
        var plain = string.Join('-', letters.Split('-', StringSplitOptions.RemoveEmptyEntries));
        return plain.Length == 0 ? "run" : plain.Length > 40 ? plain[..40] : plain;
    }

    static string Mark(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..8];
}

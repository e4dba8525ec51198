using System.Diagnostics;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Runs the training script of PyTorch for several designs. Each process compiles and warms up at once, and measures when it is told to, while
/// nothing else runs on the GPU.
/// </summary>
sealed class TrainingRivals : IDisposable
{
    const string Ready = "compile+warm";
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(4);

    readonly List<(string Name, Process Process)> processes = [];
    readonly Action<string> report;

    TrainingRivals(Action<string> report) => this.report = report;

    /// <summary>Starts the processes for the cases that the script has.</summary>
    public static TrainingRivals Start(IEnumerable<TrainingStepCase> cases, Action<string> report)
    {
        var rivals = new TrainingRivals(report);
        foreach (var one in cases)
        {
            if (one.Rival is null) continue;
            var start = new ProcessStartInfo("python3") { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
            string layers = string.Concat(Enumerable.Repeat(one.Rival, one.Design.Blocks.Count));
            foreach (string argument in (string[])[Path.Combine(AppContext.BaseDirectory, "anchors", "gpu_train.py"), layers, $"{one.Rows}", "wait"])
                start.ArgumentList.Add(argument);
            try
            {
                rivals.processes.Add((one.Name, Process.Start(start)!));
            }
            catch (System.ComponentModel.Win32Exception e)
            {
                report($"no PyTorch: python3 cannot be started ({e.Message})");
            }
        }
        return rivals;
    }

    /// <summary>Lets the processes measure one after another, and returns what each of them printed last, by case.</summary>
    public IReadOnlyDictionary<string, string> Measure()
    {
        var results = new Dictionary<string, string>();
        var ready = processes.ConvertAll(item => Task.Run(() => ReadUntilReady(item.Process)));
        Task.WaitAll([.. ready], Patience);
        foreach (var ((name, process), warm) in processes.Zip(ready))
        {
            if (!warm.IsCompletedSuccessfully || !warm.Result)
            {
                string reason = warm.IsCompleted ? process.StandardError.ReadToEnd().Trim().Split('\n')[^1] : "not ready in time";
                report($"no PyTorch for {name}: {reason}");
                continue;
            }
            process.StandardInput.WriteLine();
            if (process.StandardOutput.ReadLine() is { } line) results[name] = line;
            process.WaitForExit(Patience);
        }
        return results;
    }

    static bool ReadUntilReady(Process process)
    {
        while (process.StandardOutput.ReadLine() is { } line)
            if (line.StartsWith(Ready, StringComparison.Ordinal)) return true;
        return false;
    }

    public void Dispose()
    {
        foreach (var (_, process) in processes)
        {
            if (!process.HasExited) process.Kill(true);
            process.Dispose();
        }
    }
}

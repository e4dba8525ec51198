using System.Collections.Concurrent;
using System.Globalization;
using HybridArchitectures.Reports.Drawing;
using HybridArchitectures.Training.Running;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Quickstart;

/// <summary>Shows a live bar for each model with loss and speed, or occasional lines if the output is not a terminal.</summary>
static class ProgressScreen
{
    /// <summary>Runs work that reports the progress of several models.</summary>
    /// <param name="names">The names of the models.</param>
    /// <param name="work">The work. Its argument returns the receiver of the progress of a model.</param>
    public static T Show<T>(IEnumerable<string> names, Func<Func<string, IProgress<TrainingProgress>>, T> work)
    {
        if (!AnsiConsole.Profile.Capabilities.Interactive || Console.IsOutputRedirected)
        {
            var lines = names.ToDictionary(name => name, name => (IProgress<TrainingProgress>)new Lines(name));
            return work(name => lines[name]);
        }
        var figures = new FiguresColumn();
        return AnsiConsole.Progress().HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn { Width = 28 }, new PercentageColumn(), figures)
            .Start(context =>
            {
                ProgressTask Task(string name) => context.AddTask($"[bold]{name.EscapeMarkup(),-12}[/]", maxValue: 1);
                var bars = names.ToDictionary(name => name, name => (IProgress<TrainingProgress>)new Bar(Task(name), figures));
                return work(name => bars[name]);
            });
    }

    static string Figures(TrainingProgress progress) => string.Create(CultureInfo.InvariantCulture,
        $"loss {progress.Loss / Math.Log(2):f3} bits/byte  {progress.TokensPerSecond,6:N0} bytes/s  step {progress.Step}");

    sealed class Bar(ProgressTask task, FiguresColumn figures) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            task.Value = value.Done;
            figures.Texts[task.Id] = Figures(value);
        }
    }

    sealed class Lines(string name) : IProgress<TrainingProgress>
    {
        double next;

        public void Report(TrainingProgress value)
        {
            if (value.Done < next) return;
            next = value.Done + 0.2;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-12} {value.Done,4:P0}  {Figures(value)}"));
        }
    }

    sealed class FiguresColumn : ProgressColumn
    {
        public ConcurrentDictionary<int, string> Texts { get; } = new();

        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime) =>
            new Text(Texts.GetValueOrDefault(task.Id, ""));
    }
}

using System.Globalization;
using HybridArchitectures.Training;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Quickstart;

/// <summary>A live bar with loss, speed and time left; a line now and then where the output is no terminal.</summary>
static class ProgressScreen
{
    public static TrainingResult Show(string name, Func<IProgress<TrainingProgress>, TrainingResult> run)
    {
        if (!AnsiConsole.Profile.Capabilities.Interactive || Console.IsOutputRedirected) return run(new Lines(name));
        var figures = new FiguresColumn();
        return AnsiConsole.Progress().HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn { Width = 28 }, new PercentageColumn(), figures)
            .Start(context =>
            {
                var task = context.AddTask($"[bold]{name.EscapeMarkup(),-12}[/]", maxValue: 1);
                var result = run(new Bar(task, figures));
                if (result.Completed) task.Value = 1;
                return result;
            });
    }

    static string Figures(TrainingProgress progress) => string.Create(CultureInfo.InvariantCulture,
        $"loss {progress.Loss / Math.Log(2):f3} bits/byte  {progress.TokensPerSecond,6:N0} bytes/s  {(progress.TimeLeft is { } left ? $"{(int)left.TotalMinutes}:{left.Seconds:d2} left" : "")}");

    sealed class Bar(ProgressTask task, FiguresColumn figures) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            task.Value = value.Done;
            figures.Text = Figures(value);
        }
    }

    sealed class Lines(string name) : IProgress<TrainingProgress>
    {
        double next;

        public void Report(TrainingProgress value)
        {
            if (value.Done < next) return;
            next = value.Done + 0.1;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-12} {value.Done,4:P0}  {Figures(value)}"));
        }
    }

    sealed class FiguresColumn : ProgressColumn
    {
        public string Text { get; set; } = "";

        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime) => new Text(Text);
    }
}

// Trains three small models on real text on the CPU: a hybrid of attention and Mamba-2, a Transformer, and a Mamba-2 model with the same number of
// parameters.
//   dotnet run -c Release --project samples/Quickstart [-- --data PATH] [--minutes N] [--seed N] [--out FOLDER] [--resume FOLDER]
using System.CommandLine;
using HybridArchitectures.Training.Running;
using Quickstart;
using Spectre.Console;

SampleConsole.Prepare();
var data = new Option<string?>("--data")
{
    Description = "A text file or a folder of text files to train on. Default: the documentation of the .NET class library.",
};
var minutes = NumberOption.Create(
    "--minutes", "How long the whole program may take, without the build.", RunSettings.DefaultMinutes, RunSettings.MinMinutes,
    RunSettings.MaxMinutes);
var seed = NumberOption.Create("--seed", "Decides initial values, the order of the data and the sampled text.", 1L, 0, long.MaxValue);
var output = new Option<string?>("--out") { Description = "Where to write. Default: a new folder in runs/." };
var resume = new Option<string?>("--resume") { Description = "The folder of a run to continue." };
var root = new RootCommand("Trains a hybrid, a Transformer and a Mamba-2 of one size on text, side by side.") { data, minutes, seed, output, resume };
// one handler for all signals: a second signal must not end the program while the first one is still saving
// never disposed: a late signal must not end the program either
var stop = new StopSignals(report: Console.Error.WriteLine);
root.SetAction(async (arguments, _) =>
{
    try
    {
        var run = arguments.GetValue(resume) is { } folder
            ? Comparison.Open(folder)
            : Comparison.Create(new RunSettings
            {
                Data = arguments.GetValue(data) is { } path ? Path.GetFullPath(path) : null,
                Minutes = arguments.GetValue(minutes),
                Seed = arguments.GetValue(seed),
            }, arguments.GetValue(output));
        return await run.Execute(stop.Token) ? 0 : stop.ExitCode;
    }
    catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException or UnauthorizedAccessException or DllNotFoundException)
    {
        AnsiConsole.MarkupLineInterpolated($"[red]{e.Message}[/]");
        return 2;
    }
});
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

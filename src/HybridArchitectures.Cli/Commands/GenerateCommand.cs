using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Generation;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid generate</c>: continues a text.</summary>
static class GenerateCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "A checkpoint of this library or of Hugging Face, or the folder of a run." };
        var prompt = new Option<string>("--prompt") { Description = "The text to continue.", Required = true };
        var (sampling, device) = (new SamplingFlags(), new DeviceFlag());
        var command = GuardedCommand.Create("generate", "Continues a text with a checkpoint.", "runs/first --prompt \"Gets the\" --tokens 64");
        command.Add(folder);
        foreach (var option in (Option[])[prompt, .. sampling.All, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            using var loaded = LoadedModel.Open(parsed.GetValue(folder)!, sampling.Tokenizer(parsed), device.Read(parsed));
            using var signals = new StopSignals();
            string text = parsed.GetValue(prompt)!;
            var pieces = new TextGenerator(loaded.Model, loaded.Tokenizer).StreamAsync(text, sampling.Read(parsed), signals.Token);
            Write(text, pieces).GetAwaiter().GetResult();
            return ExitCode.Success;
        });
        return command;
    }

    // the prompt is written with the first piece, so that nothing precedes the error of an invalid option
    static async Task Write(string prompt, IAsyncEnumerable<GeneratedPiece> pieces)
    {
        string before = prompt;
        await foreach (var piece in pieces.ConfigureAwait(false))
        {
            Console.Write(before + piece.Text);
            before = "";
        }
        Console.WriteLine(before);
    }
}

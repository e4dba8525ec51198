using System.CommandLine;
using HybridArchitectures.Chat;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Training.Running;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid chat</c>, which chats line by line.</summary>
static class ChatCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "A checkpoint with a tokenizer. Its chat template is used if it has one." };
        var (sampling, device) = (new SamplingFlags(), new DeviceFlag());
        var command = GuardedCommand.Create(
            "chat", "Chats with a checkpoint. An empty line ends the chat.", "models/zamba2-1.2b-instruct --temperature 0.7");
        command.Add(folder);
        foreach (var option in (Option[])[.. sampling.All, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            using var loaded = LoadedModel.Open(parsed.GetValue(folder)!, sampling.Tokenizer(parsed), device.Read(parsed));
            using var signals = new StopSignals();
            var template = ChatTemplate.IsInFolder(loaded.Folder) ? ChatTemplate.FromFolder(loaded.Folder, loaded.Tokenizer) : null;
            using var client = new HybridChatClient(loaded.Model, loaded.Tokenizer, template, sampling.Read(parsed));
            Talk(client, signals.Token).GetAwaiter().GetResult();
            return ExitCode.Success;
        });
        return command;
    }

    static async Task Talk(IChatClient client, CancellationToken cancellation)
    {
        var talk = new List<ChatMessage>();
        while (true)
        {
            if (!Terminal.IsPlain) Console.Write("> ");
            if (Console.ReadLine() is not { Length: > 0 } line) return;
            talk.Add(new(ChatRole.User, line));
            var updates = new List<ChatResponseUpdate>();
            await foreach (var update in client.GetStreamingResponseAsync(talk, cancellationToken: cancellation).ConfigureAwait(false))
            {
                updates.Add(update);
                Console.Write(update.Text);
            }
            Console.WriteLine();
            talk.AddMessages(updates);
        }
    }
}

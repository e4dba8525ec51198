// Continues a text, or chats, with a checkpoint of Hugging Face or of this library.
//   dotnet run -c Release --project samples/RunCheckpoint -- FOLDER --prompt "Once upon a time"
//   dotnet run -c Release --project samples/RunCheckpoint -- FOLDER --chat
using System.CommandLine;
using HybridArchitectures.Generation;
using RunCheckpoint;
using static TorchSharp.torch;

SampleConsole.Prepare();
var folder = new Argument<string>("folder")
{
    Description = "A folder with config.json or design.json, safetensors files, and tokenizer.json if there is one.",
};
var prompt = new Option<string?>("--prompt")
{
    Description = "The text to continue. Use token ids with spaces between them if the folder has no tokenizer.",
};
var chat = new Option<bool>("--chat") { Description = "Chat line by line instead." };
var tokens = NumberOption.Create("--tokens", "The maximum number of tokens of an answer.", 128, 1, int.MaxValue);
var temperature = NumberOption.Create("--temperature", "0 for the likeliest token each time.", 0.7, 0, 100);
var topP = NumberOption.Optional("--top-p", "Sample from the likeliest tokens that reach this probability.", 1e-6, 1.0);
var topK = NumberOption.Optional("--top-k", "Sample from this many likeliest tokens.", 1, int.MaxValue);
var seed = NumberOption.Optional("--seed", "Seed of the sampling.", 0L, long.MaxValue);
var type = new Option<string>("--dtype") { Description = "The dtype of activations: float32 or bfloat16.", DefaultValueFactory = _ => "float32" };
type.AcceptOnlyFromAmong("float32", "bfloat16");
var root = new RootCommand("Runs a checkpoint.") { folder, prompt, chat, tokens, temperature, topP, topK, seed, type };
root.SetAction(async (arguments, cancellation) =>
{
    try
    {
        if (arguments.GetValue(chat) == (arguments.GetValue(prompt) is not null)) throw new ArgumentException("set either --prompt TEXT or --chat");
        var options = new GenerationOptions
        {
            MaxNewTokens = arguments.GetValue(tokens), Temperature = arguments.GetValue(temperature), TopP = arguments.GetValue(topP),
            TopK = arguments.GetValue(topK), Seed = arguments.GetValue(seed),
        };
        using var session = Session.Open(
            arguments.GetValue(folder)!, arguments.GetValue(type) == "bfloat16" ? ScalarType.BFloat16 : ScalarType.Float32);
        if (arguments.GetValue(chat)) await session.Talk(options, cancellation);
        else await session.Continue(arguments.GetValue(prompt)!, options, cancellation);
        return 0;
    }
    catch (OperationCanceledException)
    {
        return 130;
    }
    catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException or UnauthorizedAccessException or DllNotFoundException)
    {
        Console.Error.WriteLine(e.Message);
        return 2;
    }
});
return await root.Parse(args).InvokeAsync();

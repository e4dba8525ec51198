// Continues a text, or talks, with a checkpoint of Hugging Face or of this library.
//   dotnet run -c Release --project samples/RunCheckpoint -- FOLDER --prompt "Once upon a time"
//   dotnet run -c Release --project samples/RunCheckpoint -- FOLDER --chat
using System.CommandLine;
using HybridArchitectures.Generation;
using RunCheckpoint;
using static TorchSharp.torch;

var folder = new Argument<string>("folder") { Description = "config.json or design.json with safetensors, and tokenizer.json where there is one." };
var prompt = new Option<string?>("--prompt") { Description = "Text to continue; token numbers with blanks between where the folder has no tokenizer." };
var chat = new Option<bool>("--chat") { Description = "Talk line by line instead." };
var tokens = new Option<int>("--tokens") { Description = "The most tokens of an answer.", DefaultValueFactory = _ => 128 };
var temperature = new Option<double>("--temperature") { Description = "0 for the likeliest token each time.", DefaultValueFactory = _ => 0.7 };
var topP = new Option<double?>("--top-p") { Description = "Sample from the likeliest tokens that reach this probability." };
var topK = new Option<int?>("--top-k") { Description = "Sample from this many likeliest tokens." };
var seed = new Option<long?>("--seed") { Description = "Seed of the sampling." };
var type = new Option<string>("--dtype") { Description = "Activations: float32 or bfloat16.", DefaultValueFactory = _ => "float32" };
type.AcceptOnlyFromAmong("float32", "bfloat16");
var root = new RootCommand("Runs a checkpoint.") { folder, prompt, chat, tokens, temperature, topP, topK, seed, type };
root.SetAction(async (arguments, cancellation) =>
{
    try
    {
        if (arguments.GetValue(chat) == (arguments.GetValue(prompt) is not null)) throw new ArgumentException("give either --prompt TEXT or --chat");
        var options = new GenerationOptions
        {
            MaxNewTokens = arguments.GetValue(tokens), Temperature = arguments.GetValue(temperature), TopP = arguments.GetValue(topP), TopK = arguments.GetValue(topK), Seed = arguments.GetValue(seed),
        };
        using var session = Session.Open(arguments.GetValue(folder)!, arguments.GetValue(type) == "bfloat16" ? ScalarType.BFloat16 : ScalarType.Float32);
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

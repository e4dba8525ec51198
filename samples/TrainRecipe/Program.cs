// Trains a model of arXiv 2510.04800 on your text.
//   dotnet run -c Release --project samples/TrainRecipe -- --recipe 1B-inter-1:5 [--data PATH] [--tokenizer PATH] [--full] [--device cuda] ...
using System.CommandLine;
using HybridArchitectures.Design;
using HybridArchitectures.Training.Running;
using TrainRecipe;
using static TorchSharp.torch;

SampleConsole.Prepare();
var recipe = new Option<string>("--recipe")
{
    Description = "The name of a recipe, see docs/reference/recipes.md.",
    DefaultValueFactory = _ => "1B-inter-1:5",
};
var data = new Option<string?>("--data")
{
    Description =
        "A file or folder: text, JSON records (.jsonl, .json, also .gz and .zst) or parquet. Default: the documentation of the .NET class library.",
};
var tokenizer = new Option<string?>("--tokenizer")
{
    Description = "The Llama 3.2 tokenizer: a folder with it, tokenizer.json, or tokenizer.model. Default: bytes.",
};
var device = new Option<string>("--device") { Description = "cpu or cuda.", DefaultValueFactory = _ => "cpu" };
var full = new Option<bool>("--full")
{
    Description = "Uses the width, context length, batch size and steps (60B tokens) of the recipe unless other options set them.",
};
var width = NumberOption.Optional("--width", "Width of the model; all its parts in proportion. Default: 128.", 8, int.MaxValue);
var context = NumberOption.Optional("--context", "Tokens per row. Default: 256.", 1, int.MaxValue);
var rows = NumberOption.Optional("--rows", "Rows per step. Default: 4.", 1, int.MaxValue);
var microRows = NumberOption.Create("--micro-rows", "Rows per pass. The gradients of several passes are added. Default: 4.", 4, 1, int.MaxValue);
var steps = NumberOption.Optional("--steps", "Steps. Default: 100.", 1L, long.MaxValue);
var seed = NumberOption.Create("--seed", "Decides initial values and the order of the data.", 1L, 0, long.MaxValue);
var output = new Option<string>("--out")
{
    Description = "Shards, checkpoints and TensorBoard events; a stopped run in it continues.",
    DefaultValueFactory = _ => "runs/recipe",
};
var root = new RootCommand("Trains a model of arXiv 2510.04800 on your own text.") { recipe, data, tokenizer, device, full, width, context, rows,
    microRows, steps, seed, output };
// never disposed: a late signal must not end the program either
var stop = new StopSignals(report: Console.Error.WriteLine);
root.SetAction((arguments, _) => Task.Run(() =>
{
    try
    {
        var named = Recipes.Get(arguments.GetValue(recipe)!);
        bool whole = arguments.GetValue(full), onCuda = arguments.GetValue(device) == "cuda";
        if (!onCuda && arguments.GetValue(device) != "cpu")
            throw new ArgumentException($"--device is '{arguments.GetValue(device)}'; expected cpu or cuda");
        if (onCuda && !cuda.is_available())
            throw new ArgumentException(
            "--device is cuda, but libtorch finds no GPU; build with -p:TorchBackend=cuda, or name a libtorch by HYBRID_LIBTORCH_PATH");
        int length = arguments.GetValue(context) ?? (whole ? named.Training.ContextLength : 256);
        int batch = arguments.GetValue(rows) ?? (whole ? named.Training.BatchTokens / length : 4);
        return RecipeRun.Execute(new Settings
        {
            Recipe = named, Data = arguments.GetValue(data), Tokenizer = arguments.GetValue(tokenizer),
            Width = arguments.GetValue(width) ?? (whole ? null : 128),
            ContextLength = length, Rows = batch, MicroRows = arguments.GetValue(microRows),
            Steps = arguments.GetValue(steps) ?? (whole ? named.Training.Tokens / ((long)batch * length) : 100),
            Cuda = onCuda, Folder = arguments.GetValue(output)!, Seed = arguments.GetValue(seed),
        }, stop);
    }
    catch (OperationCanceledException) when (stop.Token.IsCancellationRequested)
    {
        Console.WriteLine("stopped    the state is saved; the same command continues");
        return stop.ExitCode;
    }
    catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException or UnauthorizedAccessException)
    {
        Console.Error.WriteLine(e.Message);
        return 2;
    }
}, CancellationToken.None));
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

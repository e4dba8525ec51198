// Converts a Hugging Face folder to this library's format, back, or to another family that can express the design. The result is read and checked.
//   dotnet run -c Release --project samples/Convert -- SOURCE TARGET --to own
//   dotnet run -c Release --project samples/Convert -- SOURCE TARGET --to bamba --dtype bfloat16
using System.CommandLine;
using Convert;
using HybridArchitectures.Checkpoints;
using static TorchSharp.torch;

SampleConsole.Prepare();
var source = new Argument<string>("source") { Description = "A folder of Hugging Face or of this library." };
var target = new Argument<string>("target") { Description = "The folder to write, which must not exist." };
var to = new Option<string>("--to")
{
    Description = $"own, or one of {string.Join(", ", PretrainedFamily.All.Select(family => family.ModelType))}.",
    Required = true,
};
var type = new Option<string>("--dtype") { Description = "float32, bfloat16 or float16.", DefaultValueFactory = _ => "float32" };
type.AcceptOnlyFromAmong("float32", "bfloat16", "float16");
var shard = NumberOption.Create("--shard-gb", "Weights beyond this many gigabytes go into another file.", 5.0, 1e-6, 1e6);
var root = new RootCommand("Converts a checkpoint and compares what was written with what was read.") { source, target, to, type, shard };
root.SetAction(arguments =>
{
    try
    {
        var element = arguments.GetValue(type) switch { "bfloat16" => ScalarType.BFloat16, "float16" => ScalarType.Float16, _ => ScalarType.Float32 };
        return new Conversion(arguments.GetValue(source)!, arguments.GetValue(target)!, arguments.GetValue(to)!, element,
            (long)(arguments.GetValue(shard) * 1e9)).Run() ? 0 : 1;
    }
    catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException or UnauthorizedAccessException or DllNotFoundException)
    {
        Console.Error.WriteLine(e.Message);
        return 2;
    }
});
return root.Parse(args).Invoke();

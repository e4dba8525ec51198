using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Models;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid bench</c>, which measures speed and cache of inference, next to the cost model.</summary>
static class BenchCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design")
        {
            Description = $"{DesignArgument.Description} The weights of a checkpoint do not affect the speed.",
        };
        var batch = new Flag<int[]>("--batch", nameof(InferenceCostOptions.BatchSizes))
        {
            Description = "The batch sizes in rows.", DefaultValueFactory = _ => [1], AllowMultipleArgumentsPerToken = true,
        };
        var prompt = new Flag<int>("--prompt-length", nameof(InferenceCostOptions.PromptLength))
        {
            Description = "The number of tokens of each prompt.", DefaultValueFactory = _ => 512,
        };
        var totals = new Flag<int[]>("--total-length", nameof(InferenceCostOptions.TotalLengths))
        {
            Description = "The numbers of tokens of prompt and continuation.",
            DefaultValueFactory = _ => [640], AllowMultipleArgumentsPerToken = true,
        };
        var device = new DeviceFlag();
        var command = GuardedCommand.Create("bench", "Measures prefill and decode throughput, time to first token, cache and peak memory.",
            "MMTM:width=256,heads=4,state=16,feed=512 --batch 4 --total-length 1024");
        command.Add(design);
        foreach (var option in (Option[])[batch, prompt, totals, device.Option]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            var place = device.Read(parsed);
            using var model = DesignArgument.Parse(parsed.GetValue(design)!)
                .CreateModel(place.Compute, place.Device, seed: 1, weightType: place.InferenceWeights);
            Write(new InferenceCostTask(new() { BatchSizes = parsed.GetValue(batch)!, PromptLength = parsed.GetValue(prompt),
                TotalLengths = parsed.GetValue(totals)! }).Measure(model));
            return ExitCode.Success;
        });
        return command;
    }

    static void Write(IReadOnlyList<InferenceCostRow> rows) => Terminal.Table(["batch", "prompt", "total", "first token, ms", "prefill, tokens/s",
        "decode, tokens/s", "cache, bytes", "by cost model", "peak memory, bytes", "by cost model"], rows.Select(row => (IReadOnlyList<string>)
        [
            $"{row.BatchSize}", $"{row.PromptLength}", $"{row.TotalLength}", $"{row.TimeToFirstToken.TotalMilliseconds:0.0}",
            $"{row.PrefillTokensPerSecond:0}", $"{row.DecodeTokensPerSecond:0.0}", $"{row.CacheBytes}", $"{row.PredictedCacheBytes}",
            row.PeakBytes is { } peak ? $"{peak}" : "", $"{row.PredictedPeakBytes}",
        ]));
}

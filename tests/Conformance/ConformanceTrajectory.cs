using System.Globalization;
using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Storage;
using HybridArchitectures.Training.Optimization;
using static TorchSharp.torch;
using static HybridArchitectures.Conformance.ConformanceError;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Conformance;

/// <summary>
/// Repeats recorded training steps: for each <c>NAME.safetensors</c> with a <c>NAME/config.json</c>, losses, gradient norms and weights of AdamW with
/// clipping, a schedule, and decay of some parameters. The tolerance is six times the difference between the recorded run and a run of the
/// reference in float64, and at least 2e-5, as in the other cases.
/// </summary>
static class ConformanceTrajectory
{
    const double Multiple = 6, Least = 2e-5, Exact = 1e-12, Rounding = 1e-3;

    public static bool Is(string folder) => Files(folder).Any() && File.Exists(Path.Combine(folder, "notes.json"));

    static IEnumerable<string> Files(string folder) => Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal)
        .Where(file => File.Exists(Path.Combine(folder, Path.GetFileNameWithoutExtension(file), "config.json")));

    public static IEnumerable<ConformanceResult> Run(string folder, Device device)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "notes.json")));
        string name = Path.GetFileName(folder);
        var results = new List<ConformanceResult>();
        foreach (string file in Files(folder))
        {
            string model = Path.GetFileNameWithoutExtension(file);
            try
            {
                using var scope = NewDisposeScope();
                using var recorded = SafetensorsFile.Open(file);
                results.AddRange(Steps(name, model, Path.Combine(folder, model), recorded, document.RootElement, device));
            }
            catch (Exception error)
            {
                results.Add(new(name, model, double.NaN, 0, error.Message));
            }
        }
        if (document.RootElement.TryGetProperty("library_schedules", out var schedules)) results.AddRange(Schedules(name, schedules));
        return results;
    }

    static IEnumerable<ConformanceResult> Steps(
        string name, string modelName, string config, SafetensorsFile recorded, JsonElement notes, Device device)
    {
        var ofModel = notes.GetProperty(modelName);
        var rounding = ofModel.GetProperty("double_run_differs_by");
        double lossTolerance = Math.Max(Least, Multiple * rounding.GetProperty("loss").GetDouble()),
            weightTolerance = Math.Max(Least, Multiple * rounding.GetProperty("weights").GetDouble());
        double clip = notes.GetProperty("clip").GetDouble();
        using var model = Load(config, recorded, device);
        string family = PretrainedConfig.Read(Path.Combine(config, "config.json")).ModelType;
        using var optimizer = Optimizer(model, notes);
        yield return new(name, $"{modelName}.decayed", Decayed(model, family, ofModel), 0);
        Tensor ids = recorded.Read("ids", device: device), losses = recorded.Read("loss"), norms = recorded.Read("grad_norm"),
            rates = recorded.Read("lr");
        var (lossErrors, normErrors, rateErrors) = (new List<double>(), new List<double>(), new List<double>());
        foreach (var (step, rate) in Rates(notes).Index())
        {
            using var scope = NewDisposeScope();
            rateErrors.Add(Math.Abs(rate - rates[step].item<double>()));
            var batch = ids.select(0, step);
            var loss = model.Loss(batch, Shifted(batch)).Total;
            lossErrors.Add(Difference(losses[step], loss));
            Autograd.Backward(loss);
            normErrors.Add(Scaled(norms[step], optimizer.Step(rate, clip)));
            if (recorded.Entries.Any(entry => entry.Name.StartsWith($"after{step + 1}.", StringComparison.Ordinal)))
                yield return new(name, $"{modelName}.after{step + 1}", Weights(model, family, recorded, $"after{step + 1}."), weightTolerance);
        }
        yield return new(name, $"{modelName}.lr", Largest(rateErrors), Exact);
        yield return new(name, $"{modelName}.loss", Largest(lossErrors), lossTolerance);
        yield return new(name, $"{modelName}.final", Weights(model, family, recorded, "final."), weightTolerance);
        // beyond rounding the runs part, and how much their gradients and logits differ then is not recorded
        if (weightTolerance > Rounding) yield break;
        yield return new(name, $"{modelName}.grad_norm", Largest(normErrors), weightTolerance);
        using var noGrad = no_grad();
        // a logit is a sum over the width of products with weights that may each be off by the tolerance
        yield return new(name, $"{modelName}.final_logits", Scaled(recorded.Read("final_logits"), model.Forward(ids.select(0, 0).narrow(0, 0, 1))),
            weightTolerance * Math.Sqrt(model.Design.Width));
    }

    // the learning rate of each step
    static IEnumerable<double> Rates(JsonElement notes)
    {
        double peak = notes.GetProperty("peak_lr").GetDouble(), floor = notes.GetProperty("floor_lr").GetDouble();
        int steps = notes.GetProperty("steps").GetInt32();
        var schedule = new CosineSchedule { WarmUp = notes.GetProperty("warm_up").GetDouble() / steps, Floor = floor / peak };
        return Enumerable.Range(0, steps).Select(step => peak * schedule.Factor((double)step / steps, 1.0 / steps));
    }

    static AdamW Optimizer(HybridLanguageModel model, JsonElement notes) =>
        new(model.Parameters.Select(item => (item.Name, item.Value, item.Decays)), new()
        {
            Beta1 = notes.GetProperty("betas")[0].GetDouble(), Beta2 = notes.GetProperty("betas")[1].GetDouble(),
            Epsilon = notes.GetProperty("eps").GetDouble(), WeightDecay = notes.GetProperty("weight_decay").GetDouble(),
        });

    static HybridLanguageModel Load(string config, SafetensorsFile recorded, Device device)
    {
        const string prefix = "initial.";
        var place = Directory.CreateTempSubdirectory("conformance-");
        try
        {
            File.Copy(Path.Combine(config, "config.json"), Path.Combine(place.FullName, "config.json"));
            SafetensorsFile.Write(Path.Combine(place.FullName, "model.safetensors"),
                recorded.Entries.Where(entry => entry.Name.StartsWith(prefix, StringComparison.Ordinal))
                .ToDictionary(entry => entry.Name[prefix.Length..], entry => recorded.Read(entry.Name)));
            return PretrainedModel.Load(place.FullName, device: device, options: ConformanceCase.AsRecorded);
        }
        finally
        {
            place.Delete(recursive: true);
        }
    }

    // how many parameters are decayed here and not there, or the other way round
    static double Decayed(HybridLanguageModel model, string family, JsonElement notes)
    {
        var marks = model.State.ToDictionary(item => item.Key, item => zeros_like(item.Value));
        foreach (var parameter in model.Parameters.Where(parameter => parameter.Decays)) marks[parameter.Name] = ones_like(parameter.Value);
        var ours = PretrainedModel.Rename(model.Design, family, marks).Where(item => item.Value.max().item<float>() > 0).Select(item => item.Key)
            .ToHashSet(StringComparer.Ordinal);
        ours.SymmetricExceptWith(notes.GetProperty("decayed").EnumerateArray().Select(item => item.GetString()!));
        return ours.Count;
    }

    static Tensor Shifted(Tensor ids) =>
        cat([ids.narrow(1, 1, ids.size(1) - 1), full([ids.size(0), 1], Scalars.From(-100L), ScalarType.Int64, ids.device)], 1);

    static double Weights(HybridLanguageModel model, string family, SafetensorsFile recorded, string prefix)
    {
        var named = PretrainedModel.Rename(model.Design, family, new Tensors(model.State));
        var entries = recorded.Entries.Where(entry => entry.Name.StartsWith(prefix, StringComparison.Ordinal)).ToArray();
        if (entries.Length != named.Count)
            throw new InvalidDataException($"{entries.Length} weights are recorded as {prefix}*; the model has {named.Count}");
        return Largest(entries.Select(entry => Difference(recorded.Read(entry.Name), named[entry.Name[prefix.Length..]])).ToArray());
    }

    // the reference counts the steps before a step, this library the step itself as well: without a step's length they are the same
    static IEnumerable<ConformanceResult> Schedules(string name, JsonElement schedules)
    {
        foreach (var item in schedules.EnumerateObject())
        {
            int steps = item.Value.GetProperty("steps").GetInt32();
            double warmUp = item.Value.GetProperty("warm_up").GetDouble() / steps;
            double floor = item.Value.GetProperty("extra") is { ValueKind: JsonValueKind.Object } extra
                && extra.TryGetProperty("min_lr_rate", out var minimum) ? minimum.GetDouble() : 0;
            LearningRateSchedule? schedule = item.Name switch
            {
                "cosine_with_min_lr" or "cosine" => new CosineSchedule { WarmUp = warmUp, Floor = floor },
                "linear" => new LinearSchedule { WarmUp = warmUp },
                "constant_with_warmup" => new TrapezoidSchedule { WarmUp = warmUp, CoolDown = 0 },
                _ => null,       // of another shape than any here: warm-up from the floor, or a cool-down that is a cosine
            };
            if (schedule is null) continue;
            yield return ConformanceRunner.Try(name, $"schedule.{item.Name}", Exact, () => Largest(item.Value.GetProperty("factor").EnumerateArray()
                .Select((factor, step) => Math.Abs(factor.GetDouble() - schedule.Factor((double)step / steps))).ToArray()));
        }
    }
}

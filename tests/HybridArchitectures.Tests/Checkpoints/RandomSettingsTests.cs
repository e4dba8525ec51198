using HybridArchitectures.Checkpoints;
using HybridArchitectures.Conformance;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Storage;
using HybridArchitectures.Verification;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>
/// Tests families with other sizes, patterns and options than those of the recorded cases. A written checkpoint is read again with the same outputs,
/// and steps equal one pass. Everyday runs test one configuration of each family, and full runs test forty.
/// </summary>
public class RandomSettingsTests
{
    const int Length = 13;

    // of float64 arithmetic, in which routers and the logits at the end are float32; measured 5e-6 of logits below 4
    const double StepTolerance = 1e-5;

    public static TheoryData<string> Families => [.. RandomSettings.Families];

    static IEnumerable<int> Seeds => Enumerable.Range(1, Effort.Choose(1, 40));

    [Theory, MemberData(nameof(Families))]
    public void A_model_of_other_sizes_is_written_and_read_and_its_steps_equal_one_pass(string family)
    {
        foreach (int seed in Seeds)
        {
            using var folder = new TemporaryFolder();
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            string text = RandomSettings.Draw(family, seed).ToJsonString();
            try
            {
                Check(family, text, seed, folder);
            }
            catch (Exception error)
            {
                Assert.Fail($"{family}, seed {seed}: {error.Message}\n{text}\n{error.StackTrace}");
            }
        }
    }

    /// <summary>
    /// Writes models for tests/Conformance/check_written.py, which asks transformers for their logits. Families of flash-linear-attention and
    /// multimodal folders are left out, because transformers has no text model of them.
    /// </summary>
    [Fact]
    public void Models_are_written_for_transformers()
    {
        string? target = Environment.GetEnvironmentVariable("HYBRID_WRITE_MODELS");
        Assert.SkipWhen(string.IsNullOrEmpty(target), "HYBRID_WRITE_MODELS names no folder to write models to");
        using var noGrad = no_grad();
        string[] without = ["gated_deltanet", "delta_net", "gla", "hgrn2", "mamba3", "rwkv7", "qwen3_5", "qwen3_5_moe"];
        foreach (string family in RandomSettings.Families.Except(without))
            for (int seed = 1; seed <= 6; seed++) Write(family, seed, Path.Combine(target!, $"{family}-{seed}"));
    }

    static void Write(string family, int seed, string place)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["config.json"], RandomSettings.Draw(family, seed).ToJsonString());
        var design = PretrainedModel.LoadDesign(folder.Path, ConformanceCase.AsRecorded);
        using var model = Random(design, seed);
        PretrainedModel.Save(model, place, family);
        var ids = randint(1, design.VocabularySize, [1, Length], ScalarType.Int64);
        var logits = model.Forward(ids);
        // float32 on both sides
        float tolerance = 2e-4f * Math.Max(1, logits.abs().max().item<float>());
        SafetensorsFile.Write(place + ".logits.safetensors", new Dictionary<string, Tensor>
        {
            ["ids"] = ids, ["logits"] = logits, ["tolerance"] = tensor([tolerance]),
        });
    }

    static void Check(string family, string text, int seed, TemporaryFolder folder)
    {
        string settings = folder["settings"], written = folder["written"], again = folder["again"];
        Directory.CreateDirectory(settings);
        File.WriteAllText(Path.Combine(settings, "config.json"), text);
        var design = PretrainedModel.LoadDesign(settings);
        using var model = Random(design, seed);
        var ids = randint(1, design.VocabularySize, [2, Length], ScalarType.Int64);
        var logits = model.Forward(ids);
        Assert.True(logits.isfinite().all().item<bool>(), "logits are not finite");
        PretrainedModel.Save(model, written, family, new() { ShardBytes = seed % 2 == 0 ? 20_000 : 5_000_000 });
        using (var read = PretrainedModel.Load(written)) Same(model, read, ids, logits);
        CheckPieces(design, ids, seed);
        if (!Effort.IsFull) return;
        PretrainedModel.Save(model, again, family, new() { SettingsFrom = PretrainedConfig.Read(Path.Combine(settings, "config.json")) });
        using (var read = PretrainedModel.Load(again)) Same(model, read, ids, logits);
        var report = DesignVerifier.Verify(model);
        Assert.True(report.Passed, $"{report}");
    }

    static void CheckPieces(HybridDesign design, Tensor ids, int seed)
    {
        using var model = Random(design, seed, ScalarType.Float64);
        var logits = model.Forward(ids);
        double allowed = StepTolerance * Math.Max(1, logits.abs().max().item<float>());
        foreach (int size in Effort.Choose<int[]>([4], [1, 2 + seed % 5]))
        {
            double error = (Pieces(model, ids, size) - logits).abs().max().item<float>();
            Assert.True(error <= allowed, $"pieces of {size} tokens differ by {error:g3}; expected at most {allowed:g3}");
        }
    }

    static HybridLanguageModel Random(HybridDesign design, int seed, ScalarType compute = ScalarType.Float32)
    {
        var model = design.CreateModel(compute, seed: seed);
        manual_seed(seed);
        // lower bounds of HGRN2 rise from layer to layer, as they do at the start
        foreach (var (name, parameter, _) in model.AllParameters())
            if (!name.EndsWith("lower_bound", StringComparison.Ordinal)) parameter.add_(randn_like(parameter).mul_(0.2));
        return model;
    }

    static void Same(HybridLanguageModel model, HybridLanguageModel read, Tensor ids, Tensor logits)
    {
        Assert.Equal(model.Design with { Name = null, Initialisation = new() }, read.Design with { Name = null, Initialisation = new() });
        foreach (var (name, tensor) in model.State)
        {
            // bounds are stored as the softmax of all layers
            double allowed = name.EndsWith("lower_bound", StringComparison.Ordinal) ? 1e-5 : 0;
            Assert.True((read.State[name] - tensor).abs().max().item<float>() <= allowed, name);
        }
        Assert.True((read.Forward(ids) - logits).abs().max().item<float>() <= 1e-4, "the logits of what was read differ");
    }

    static Tensor Pieces(HybridLanguageModel model, Tensor ids, int size)
    {
        using var cache = model.CreateCache((int)ids.size(0));
        return cat([.. ids.split(size, 1).Select(Piece)], 1);

        Tensor Piece(Tensor piece)
        {
            using var context = new SequenceContext(cache: cache);
            return model.Forward(piece, context);
        }
    }
}

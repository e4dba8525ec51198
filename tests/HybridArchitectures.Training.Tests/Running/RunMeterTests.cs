using System.Runtime.InteropServices;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class RunMeterTests : IDisposable
{
    readonly TokenDataset data = Small.Data();

    public void Dispose() => data.Dispose();

    [Fact]
    public void Utilisation_is_a_share_of_the_throughput_of_all_ranks()
    {
        Assert.Equal(0.5, RunMeter.Utilisation(1000, 500, 4));
        Assert.Null(RunMeter.Utilisation(1000, null, 4));
    }

    [Fact]
    public void Reports_contain_the_rate_of_the_model_the_memory_and_the_time_of_reading()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options);
        double flops = FlopCount.OfText(model.Design, 12, FlopAccounting.MatrixProducts).Training;
        foreach (var report in trainer.Run().History)
        {
            Assert.Equal(report.TokensPerSecond * flops, report.ModelFlopsPerSecond, 1e-6 * report.ModelFlopsPerSecond);
            Assert.Null(report.ModelFlopUtilisation);            // of no GPU
            Assert.InRange(report.MemoryBytes, 1 << 20, 1L << 40);
            Assert.InRange(report.ReadingShare, 1e-9, 0.999);
        }
    }

    [Theory]
    [InlineData("NVIDIA H200", "H200")]
    [InlineData("NVIDIA H100 80GB HBM3", "H100-SXM")]
    [InlineData("NVIDIA H100 PCIe", "H100-PCIe")]
    [InlineData("NVIDIA A100-SXM4-40GB", "A100-40GB")]
    [InlineData("NVIDIA GeForce RTX 4090", "RTX-4090")]
    [InlineData("NVIDIA T4", null)]
    public void Devices_are_found_by_the_name_of_the_driver(string device, string? name) =>
        Assert.Equal(name, Accelerator.Find(device)?.Name);

    [Fact]
    public void A_step_that_does_not_fit_ends_with_the_estimate_and_what_needs_less()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options, callbacks: [new Hungry("CUDA out of memory. Tried to allocate 2.00 GiB")]);
        var error = Assert.Throws<InsufficientMemoryException>(() => trainer.Run());
        Assert.IsType<ExternalException>(error.InnerException);
        var cost = model.Design.Cost(12);
        foreach (string part in (string[])["4 rows of 12 tokens", $"{cost.TrainingMemory(4, 4, false, TorchSharp.DeviceType.CPU)}",
            $"MicroBatchSize = 2 ({Units.Bytes(cost.TrainingMemory(2, 4, false, TorchSharp.DeviceType.CPU).Total)})",
            $"ActivationCheckpointing = true ({Units.Bytes(cost.TrainingMemory(4, 4, true, TorchSharp.DeviceType.CPU).Total)})", "ContextLength"])
            Assert.Contains(part, error.Message);
        Assert.Equal(0, trainer.Step);
        Assert.All(model.Parameters, item => Assert.Null(item.Value.grad));
    }

    [Fact]
    public void Another_failure_stays_what_it_is()
    {
        using var scope = NewDisposeScope();
        using var model = Small.Model();
        using var trainer = new Trainer(model, data, Small.Options, callbacks: [new Hungry("mat1 and mat2 shapes cannot be multiplied")]);
        Assert.Throws<ExternalException>(() => trainer.Run());
    }

    sealed class Hungry(string message) : TrainingObjective
    {
        public override string Description => "hungry";

        public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context) =>
            throw new ExternalException(message);
    }
}

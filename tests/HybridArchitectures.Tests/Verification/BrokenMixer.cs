using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Verification;

/// <summary>Implements a decayed sum over the tokens of a row, token by token, with one fault.</summary>
sealed class BrokenMixer : Mixer
{
    readonly Fault fault;

    public BrokenMixer(ModuleFactory factory, Fault fault) : base(nameof(BrokenMixer))
    {
        this.fault = fault;
        AddParameter("weight", factory.Constant(0.5, factory.Width), decays: true);
    }

    public override Tensor Forward(Tensor x, SequenceContext context, MixerState? state)
    {
        if (fault == Fault.Throws && context.Layout?.DocumentIds is not null)
            throw new NotSupportedException("no packed rows here\nException raised from somewhere\nframe #0: native code");
        var own = (SumState?)state;
        var sum = own is null || fault == Fault.ForgetsItsState ? zeros_like(x.select(1, 0)) : own.Sum.clone();
        var weight = Parameter("weight").to(x.dtype);
        var outputs = new List<Tensor>();
        for (long i = 0; i < x.size(1); i++)
        {
            if (context.Layout?.Starts is { } starts && fault != Fault.LeaksOverDocuments)
                sum = sum.masked_fill(starts.select(1, i).unsqueeze(1), Scalars.Zero);
            var next = sum * 0.7 + x.select(1, i);
            if (fault == Fault.StepsDifferently && x.size(1) == 1) next = next * 1.01;
            sum = context.Layout?.Valid is { } valid && fault != Fault.CountsPads ? where(valid.select(1, i).unsqueeze(1), next, sum) : next;
            outputs.Add(sum * weight);
        }
        if (own is not null && fault != Fault.ForgetsItsState)
        {
            own.Sum.copy_(sum);
            own.Hidden += x.size(1);
            if (fault == Fault.KeepsMoreThanItsTensors) outputs = [.. outputs.Select(output => output * (own.Hidden > 16 ? 2 : 1))];
        }
        var mixed = stack(outputs, 1);
        return fault switch
        {
            Fault.SeesTheNextToken => mixed + x.roll(-1, 1) * 0.01,
            Fault.MixesRows => mixed + x.mean([0L], keepdim: true) * 0.01,
            Fault.GivesNaN => x.size(1) == 1 ? mixed / 0 : mixed,
            _ => mixed,
        };
    }

    public override MixerState CreateState(int batch, ScalarType compute, Device device) =>
        new SumState(zeros([batch, Parameter("weight").size(0)], compute, device).DetachFromDisposeScope(), fault);

    sealed class SumState(Tensor sum, Fault fault) : MixerState
    {
        public Tensor Sum => sum;

        public long Hidden { get; set; }

        public override IReadOnlyList<Tensor> Tensors => [sum];

        public override MixerState Select(Tensor rows) =>
            new SumState(fault == Fault.MovesRows ? Rows(sum, rows).flip(0).DetachFromDisposeScope() : Rows(sum, rows), fault) { Hidden = Hidden };
    }
}

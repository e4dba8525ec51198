using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class OperatorOptionsTests
{
    static readonly OperatorOptions Reference = new() { Backend = KernelBackend.Reference };

    static KernelBackend Chosen
    {
        get
        {
            using var scope = NewDisposeScope();
            return RmsNorm.BackendFor(zeros(1));
        }
    }

    [Fact]
    public void Scopes_restore_the_options_before_them()
    {
        Assert.Equal(KernelBackend.Cpu, Chosen);
        using (OperatorOptions.Use(Reference))
        {
            Assert.Equal(KernelBackend.Reference, Chosen);
            using (OperatorOptions.Use(OperatorOptions.Current with { RmsNormBackend = KernelBackend.Cpu })) Assert.Equal(KernelBackend.Cpu, Chosen);
            Assert.Equal(KernelBackend.Reference, Chosen);
        }
        Assert.Equal(KernelBackend.Cpu, Chosen);
    }

    [Fact]
    public async Task Threads_that_start_within_a_scope_see_its_options_and_others_do_not()
    {
        using var begun = new ManualResetEventSlim();
        using var goOn = new ManualResetEventSlim();
        var outside = Task.Run(() =>
        {
            begun.Set();
            goOn.Wait();
            return Chosen;
        }, TestContext.Current.CancellationToken);
        begun.Wait(TestContext.Current.CancellationToken);
        using (OperatorOptions.Use(Reference))
        {
            goOn.Set();
            Assert.Equal(KernelBackend.Cpu, await outside);
            Assert.Equal(KernelBackend.Reference, await Task.Run(() => Chosen, TestContext.Current.CancellationToken));
            var started = KernelBackend.Auto;
            var thread = new Thread(() => started = Chosen);
            thread.Start();
            thread.Join();
            Assert.Equal(KernelBackend.Reference, started);
        }
    }

    [Fact]
    public void A_gradient_sees_the_options_of_its_forward_call()
    {
        using var scope = NewDisposeScope();
        var x = ones(2).requires_grad_();
        var seen = new List<KernelBackend>();
        Tensor y;
        using (OperatorOptions.Use(Reference))
            y = Autograd.Apply([x], _ => [x.square()], context =>
            {
                seen.Add(Chosen);
                return [context.Gradients[0]!.clone()];
            })[0];
        var thread = new Thread(() => Autograd.Backward(y.sum()));
        thread.Start();
        thread.Join();
        Assert.Equal([KernelBackend.Reference], seen);
        Assert.Equal(KernelBackend.Cpu, Chosen);
    }
}
